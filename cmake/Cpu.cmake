# Cpu.cmake - native/cpu/*.cpp -> artifacts/cpu/libkernelforge_cpu.so (kernelforge_cpu.dll on Windows), and its test.
# Only for x86-64; where it is missing the CPU device computes everything in C#.

include(Cxx)
if(NOT KF_CXX)
  message(NOTICE "no C++ compiler: the native CPU library is left out")
  add_custom_target(kernelforge_cpu)
  return()
endif()
if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  message(NOTICE "${CMAKE_SYSTEM_PROCESSOR} is no x86-64: the native CPU library is left out")
  add_custom_target(kernelforge_cpu)
  return()
endif()

add_library(kernelforge_cpu SHARED native/cpu/features.cpp native/cpu/bf16_panels.cpp native/cpu/int8_panels.cpp)
target_compile_features(kernelforge_cpu PRIVATE cxx_std_17)
set_target_properties(kernelforge_cpu PROPERTIES CXX_EXTENSIONS OFF CXX_VISIBILITY_PRESET hidden)
foreach(kind LIBRARY RUNTIME)  # where the file goes, on Linux and on Windows
  set_target_properties(kernelforge_cpu PROPERTIES ${kind}_OUTPUT_DIRECTORY ${KF_ARTIFACTS}/cpu ${kind}_OUTPUT_DIRECTORY_RELEASE ${KF_ARTIFACTS}/cpu)
endforeach()
if(MSVC)
  target_compile_options(kernelforge_cpu PRIVATE /W4 /fp:precise)
  set(bf16 /arch:AVX512)
  set(int8 /arch:AVX512)
else()
  # g++ 12 takes _mm512_undefined for uninitialised (GCC bug 105593): -Wno-maybe-uninitialized.
  target_compile_options(kernelforge_cpu PRIVATE -O3 -Wall -Wextra -ffp-contract=off $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  target_link_options(kernelforge_cpu PRIVATE -static-libgcc -static-libstdc++)
  set(bf16 -mavx512f -mavx512bw -mavx512vl -mavx512bf16)
  set(int8 -mavx512f -mavx512bw -mavx512vl -mavx512vnni)
endif()
# Only what runs behind kf_cpu_features may have instructions that not every machine has.
set_source_files_properties(native/cpu/bf16_panels.cpp PROPERTIES COMPILE_OPTIONS "${bf16}")
set_source_files_properties(native/cpu/int8_panels.cpp PROPERTIES COMPILE_OPTIONS "${int8}")

add_executable(panels_test native/cpu/tests/panels_test.cpp)
target_compile_features(panels_test PRIVATE cxx_std_17)
target_link_libraries(panels_test PRIVATE kernelforge_cpu)
add_test(NAME cpu/panels_test COMMAND panels_test)
