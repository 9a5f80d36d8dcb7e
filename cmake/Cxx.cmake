# Cxx.cmake - sets KF_CXX to whether there is a C++ compiler, and makes it ready. What it compiles is optimised unless somebody says otherwise.

include(CheckLanguage)
if(NOT CMAKE_CXX_COMPILER)
  unset(CMAKE_CXX_COMPILER CACHE)  # what an earlier run did not find may be there now
endif()
check_language(CXX)
set(KF_CXX FALSE)
if(CMAKE_CXX_COMPILER)
  set(KF_CXX TRUE)
  if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE Release)
  endif()
  enable_language(CXX)
endif()
