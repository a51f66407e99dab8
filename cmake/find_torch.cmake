# Finds LibTorch: Torch_DIR when it is set, else the wheel of the Python that CMake sees.
if(NOT Torch_DIR AND NOT CUPEL_TORCH_SEARCHED)
  find_package(Python3 COMPONENTS Interpreter QUIET)
  if(Python3_Interpreter_FOUND)
    execute_process(
      COMMAND "${Python3_EXECUTABLE}" -c "import torch.utils; print(torch.utils.cmake_prefix_path)"
      OUTPUT_VARIABLE cupel_torch_prefix OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    list(APPEND CMAKE_PREFIX_PATH "${cupel_torch_prefix}")
  endif()
endif()
find_package(Torch QUIET)
if(NOT Torch_FOUND)
  message(FATAL_ERROR "cupel needs LibTorch 2.11 to 2.13 and found none. "
          "Install it with: pip install torch==2.13.0  (or set -DTorch_DIR=<libtorch>/share/cmake/Torch).")
endif()
if(Torch_VERSION VERSION_LESS 2.11 OR Torch_VERSION VERSION_GREATER_EQUAL 2.14)
  message(FATAL_ERROR "cupel builds with torch 2.11 to 2.13; this one is ${Torch_VERSION}. "
          "Install it with: pip install torch==2.13.0")
endif()
string(REGEX MATCH "^[0-9]+\\.[0-9]+" CUPEL_TORCH_MINOR "${Torch_VERSION}")
