// planted.cuh - what the planted bugs share.
//
// Every bug is one function template. With FIXED = false it holds the bug, and its entry ends in _bug; with FIXED = true it is the correct
// twin. Each line that a report may name carries the comment "planted: <name>".
#pragma once

#include "kf/kf.cuh"

struct PlantedArgs {  // mirrored by PlantedArgs in PlantedBugs.cs
    const int* input;
    int* output;
    int* scratch;
    int count;  // of the integers in each of the three
};
