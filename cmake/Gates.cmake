# Gates.cmake - holds every kernel to native/budgets.tsv (registers, spills, shared memory, local memory in loops) with ptxas and the disassembler.
# Only PTX that changed is measured again. The numbers are those of one compiler version, so another version is not held to them.

set(KF_BUDGET_VERSION 12.4)
if(WIN32 OR NOT KF_NVCC_VERSION VERSION_EQUAL KF_BUDGET_VERSION)
  message(NOTICE "native/budgets.tsv is for nvcc ${KF_BUDGET_VERSION} on Linux: kernels are not held to it here")
  return()
endif()

set(checker ${CMAKE_SOURCE_DIR}/cmake/check-kernels.sh)
set(budgets ${CMAKE_SOURCE_DIR}/native/budgets.tsv)
set(measures)
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/gates/sm_80 ${CMAKE_BINARY_DIR}/gates/sm_90a)
foreach(ptx IN LISTS KF_KERNEL_PTX)
  cmake_path(GET ptx STEM name)
  cmake_path(GET ptx PARENT_PATH folder)
  cmake_path(GET folder FILENAME architecture)
  set(targets ${architecture})
  if(architecture STREQUAL sm_80)
    set(targets sm_80 sm_86 sm_89)
  endif()
  set(measure ${CMAKE_BINARY_DIR}/gates/${architecture}/${name}.tsv)
  add_custom_command(OUTPUT ${measure}
    COMMAND ${checker} measure ${KF_TOOLKIT} ${ptx} ${targets} > ${measure}
    DEPENDS ${ptx} ${checker} COMMENT "ptxas ${architecture} ${name}" VERBATIM)
  list(APPEND measures ${measure})
endforeach()

set(checked ${CMAKE_BINARY_DIR}/gates/checked)
add_custom_command(OUTPUT ${checked}
  COMMAND ${checker} check ${budgets} ${measures}
  COMMAND ${CMAKE_COMMAND} -E touch ${checked}
  DEPENDS ${measures} ${budgets} ${checker} COMMENT "holding kernels to native/budgets.tsv" VERBATIM)
add_custom_target(gates ALL DEPENDS ${checked})
add_dependencies(gates ptx)

add_custom_target(budgets
  COMMAND ${checker} propose ${budgets} ${measures} > ${CMAKE_BINARY_DIR}/gates/proposed.tsv
  COMMAND ${CMAKE_COMMAND} -E copy ${CMAKE_BINARY_DIR}/gates/proposed.tsv ${budgets}
  DEPENDS ${measures} COMMENT "writing native/budgets.tsv" VERBATIM)
add_dependencies(budgets ptx)

file(GLOB gate_tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/cmake/tests/*.sh)
foreach(test IN LISTS gate_tests)
  cmake_path(GET test STEM name)
  add_test(NAME gates/${name} COMMAND ${test} ${checker} ${KF_TOOLKIT} WORKING_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
endforeach()
