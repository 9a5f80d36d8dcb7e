# Emulator.cmake - native/emulator/**/*.cpp -> artifacts/emulator/libcuda_emulated.so, and one CTest program per native/emulator/tests/*.cpp.
# The tests link the emulator's objects, not the library, which shows the driver's names only.

file(GLOB_RECURSE emulator_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/native/emulator/*.cpp)
file(GLOB emulator_tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/native/emulator/tests/*.cpp)
list(FILTER emulator_sources EXCLUDE REGEX "/native/emulator/tests/")

if(NOT emulator_sources)
  return()
endif()
if(WIN32)
  message(NOTICE "the emulator needs Linux and g++ or clang: left out")
  return()
endif()
include(Cxx)
if(NOT KF_CXX)
  message(NOTICE "no C++ compiler: the emulator is left out")
  return()
endif()
find_package(Threads REQUIRED)

add_library(emulator_objects OBJECT ${emulator_sources})
target_compile_features(emulator_objects PUBLIC cxx_std_20)
target_include_directories(emulator_objects PUBLIC ${CMAKE_SOURCE_DIR}/native/emulator)
# g++ 12 sees overlapping copies in std::string where there are none (GCC bug 105651): -Wno-restrict.
# A product and a sum that the PTX rounds apart are not to be fused.
target_compile_options(emulator_objects PUBLIC -Wall -Wextra $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict> -ffp-contract=off -fno-math-errno $<$<BOOL:${KF_NATIVE_ARCH}>:-march=native>)
target_link_libraries(emulator_objects PUBLIC Threads::Threads)
set_target_properties(emulator_objects PROPERTIES
  POSITION_INDEPENDENT_CODE ON CXX_EXTENSIONS OFF CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)

add_library(cuda_emulated SHARED)
target_link_libraries(cuda_emulated PRIVATE emulator_objects)
target_link_options(cuda_emulated PRIVATE -Wl,-Bsymbolic -Wl,-z,defs -Wl,--version-script=${CMAKE_SOURCE_DIR}/native/emulator/exports.map)
set_target_properties(cuda_emulated PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${KF_ARTIFACTS}/emulator)

foreach(source IN LISTS emulator_tests)
  cmake_path(GET source STEM name)
  add_executable(${name} ${source})
  target_link_libraries(${name} PRIVATE emulator_objects)
  add_test(NAME emulator/${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
endforeach()
