// draft_row.cuh - what verification knows about one sequence.
#pragma once

namespace kf {

// The nodes of a sequence are the tokens whose next token the target model has chosen: node 0 is its last known token, the others are drafted tokens in a tree
// below it, parents before children.
struct DraftRow {    // mirrored by DraftRow in C#
    int first_node;  // node 0 among the nodes of all sequences
    int nodes;
    int length;      // tokens before the step, node 0 the last of them
    int max_length;  // tokens at which the sequence ends
    int min_length;  // tokens that it must have before a stop token can end it
    int first_stop;  // its stop tokens among those of all sequences
    int stops;
};

}  // namespace kf
