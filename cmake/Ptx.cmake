# Ptx.cmake - every native/kernels/NAME.cu -> artifacts/kernels/{sm_80,sm_90a}/NAME.ptx, which KernelForge.dll embeds,
# and every native/tests/**/NAME.cu -> artifacts/test-kernels/{sm_80,sm_90a}/NAME.ptx, which only tests load. NAME_wgmma.cu is for sm_90a only.
# Plain custom commands: CMake's own CUDA language would also link test programs and so want the CUDA runtime.

# -fmad=false: every sum and product is rounded by itself unless the source says fma, so that all devices give the same bits.
set(KF_NVCC_FLAGS -ptx -std=c++17 -lineinfo -fmad=false -Werror all-warnings -I ${CMAKE_SOURCE_DIR}/native/include)
if(NOT WIN32 AND CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 14 AND KF_NVCC_VERSION VERSION_LESS 12.8)
  find_program(KF_NVCC_HOST NAMES g++-13 g++-12 g++-11 DOC "A g++ that nvcc ${KF_NVCC_VERSION} accepts")
  if(KF_NVCC_HOST)
    list(APPEND KF_NVCC_FLAGS -ccbin ${KF_NVCC_HOST})
  endif()
endif()

# Compiles SOURCES for their architectures into FOLDER; appends the PTX files to the list OUTPUT. PTX whose source is gone is removed.
function(kf_add_ptx output folder)
  set(made)
  cmake_path(GET folder FILENAME kind)
  foreach(source IN LISTS ARGN)
    cmake_path(GET source STEM name)
    cmake_path(RELATIVE_PATH source BASE_DIRECTORY ${CMAKE_SOURCE_DIR} OUTPUT_VARIABLE relative)
    set(architectures 80 90a)
    if(name MATCHES "_wgmma$")
      set(architectures 90a)
    endif()
    foreach(architecture IN LISTS architectures)
      set(ptx ${folder}/sm_${architecture}/${name}.ptx)
      set(raw ${CMAKE_BINARY_DIR}/ptx/${kind}/sm_${architecture}/${name}.ptx)
      file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/ptx/${kind}/sm_${architecture} ${folder}/sm_${architecture})
      add_custom_command(OUTPUT ${ptx}
        COMMAND ${KF_NVCC} ${KF_NVCC_FLAGS} -gencode=arch=compute_${architecture},code=compute_${architecture} -o ${raw} ${source}
        COMMAND ${CMAKE_COMMAND} -D INPUT=${raw} -D OUTPUT=${ptx} -D ROOT=${CMAKE_SOURCE_DIR}
          -P ${CMAKE_SOURCE_DIR}/cmake/RelativePaths.cmake
        DEPENDS ${source} ${kernel_headers} ${KF_NVCC} ${CMAKE_CURRENT_FUNCTION_LIST_FILE}
        COMMENT "nvcc sm_${architecture} ${relative}" VERBATIM)
      list(APPEND made ${ptx})
    endforeach()
  endforeach()
  file(GLOB existing ${folder}/*/*.ptx)
  list(REMOVE_ITEM existing ${made})
  if(existing)
    file(REMOVE ${existing})
  endif()
  set(${output} ${made} PARENT_SCOPE)
endfunction()

# Every kernel includes kf.cuh, which includes the rest, so each depends on all headers.
file(GLOB_RECURSE kernel_headers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/native/include/*.cuh ${CMAKE_SOURCE_DIR}/native/tests/*.cuh)
file(GLOB kernel_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/native/kernels/*.cu)
file(GLOB_RECURSE test_kernel_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/native/tests/*.cu)
kf_add_ptx(KF_KERNEL_PTX ${KF_ARTIFACTS}/kernels ${kernel_sources})
kf_add_ptx(KF_TEST_PTX ${KF_ARTIFACTS}/test-kernels ${test_kernel_sources})
add_custom_target(ptx ALL DEPENDS ${KF_KERNEL_PTX} ${KF_TEST_PTX})
