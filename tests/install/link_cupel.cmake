# Installs the build tree to a fresh prefix, builds examples/link_cupel against it, runs it; then
# lets the package meet another Torch and expects a refusal.
function(run output)
  execute_process(COMMAND ${ARGN} OUTPUT_VARIABLE out ERROR_VARIABLE out RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "exit ${status}: ${command}\n${out}")
  endif()
  set(${output} "${out}" PARENT_SCOPE)
endfunction()

set(prefix "${WORK_DIR}/prefix")
file(REMOVE_RECURSE "${WORK_DIR}")
run(_ "${CMAKE_COMMAND}" --install "${BUILD_DIR}" --component development --prefix "${prefix}")

# What libcupel uses inside is nobody's business: a consumer must not have to install it.
file(GLOB package_files "${prefix}/lib/cmake/cupel/cupelTargets*.cmake")
foreach(file IN LISTS package_files)
  file(READ "${file}" text)
  foreach(private Eigen3 nlohmann OpenMP ZLIB sentencepiece pcre2 icuuc)
    if(text MATCHES "${private}")
      message(FATAL_ERROR "${file} makes consumers depend on ${private}")
    endif()
  endforeach()
  string(FIND "${text}" "${BUILD_DIR}" build_dir_at)
  if(text MATCHES "torch/lib" OR NOT build_dir_at EQUAL -1)
    message(FATAL_ERROR "${file} names folders of this machine:\n${text}")
  endif()
endforeach()

set(configure "${CMAKE_COMMAND}" -S "${CONSUMER}" -G "${GENERATOR}"
    "-DCMAKE_PREFIX_PATH=${prefix}" "-DCMAKE_CXX_COMPILER=${CXX_COMPILER}"
    "-DCMAKE_CXX_FLAGS=${CXX_FLAGS}")
run(_ ${configure} -B "${WORK_DIR}/build" "-DTorch_DIR=${Torch_DIR}" -DCMAKE_BUILD_TYPE=Release)
run(_ "${CMAKE_COMMAND}" --build "${WORK_DIR}/build")
run(printed "${WORK_DIR}/build/link_cupel")
set(expected "q_proj: sparsity 0.5, kept 4096 of 8192 weights\n")
if(NOT printed STREQUAL expected)
  message(FATAL_ERROR "link_cupel printed\n${printed}and not\n${expected}")
endif()

# A package that calls itself Torch and has another version is enough to be refused.
file(WRITE "${WORK_DIR}/other_torch/TorchConfig.cmake" "set(Torch_FOUND TRUE)\n")
file(WRITE "${WORK_DIR}/other_torch/TorchConfigVersion.cmake"
     "set(PACKAGE_VERSION 1.99.0)\nset(PACKAGE_VERSION_COMPATIBLE TRUE)\n")
execute_process(COMMAND ${configure} -B "${WORK_DIR}/refused" "-DTorch_DIR=${WORK_DIR}/other_torch"
                OUTPUT_VARIABLE out ERROR_VARIABLE out RESULT_VARIABLE status)
string(REGEX REPLACE "[ \n]+" " " out "${out}")  # CMake wraps its messages
if(status EQUAL 0 OR NOT out MATCHES "cupel was built with torch ${TORCH_MINOR}, and the torch found is 1.99.0")
  message(FATAL_ERROR "torch 1.99.0 should have been refused:\n${out}")
endif()
