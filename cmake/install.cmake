# Two components. `development`: headers, libcupel and a CMake package. `python`: the extension
# module. The wheel takes both, with the package's own folder as the prefix:
#   <prefix>/include/cupel/...  <prefix>/lib/libcupel.so.X.Y  <prefix>/lib/cmake/cupel/...
#   <prefix>/_cupel.cpython-....so, _cupel.pyi, _build.py      (wheels: <prefix> is site-packages/cupel)
option(CUPEL_INSTALL "Make install rules" ${PROJECT_IS_TOP_LEVEL})
# A static libcupel would hand its private libraries on to whoever links it; it stays in the tree.
if(NOT CUPEL_INSTALL OR NOT BUILD_SHARED_LIBS)
  return()
endif()
include(CMakePackageConfigHelpers)
set(cupel_package_dir lib/cmake/cupel)

install(TARGETS cupel EXPORT cupelTargets COMPONENT development
        LIBRARY DESTINATION lib NAMELINK_COMPONENT development
        ARCHIVE DESTINATION lib)
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/" DESTINATION include COMPONENT development
        FILES_MATCHING PATTERN "*.h" PATTERN "*.def")
install(FILES "${PROJECT_BINARY_DIR}/include/cupel/version.h" DESTINATION include/cupel
        COMPONENT development)

# Torch's targets are named in the package's config and found there anew: their paths belong to the
# machine that uses cupel, not to the one that built it.
install(EXPORT cupelTargets NAMESPACE cupel:: DESTINATION ${cupel_package_dir}
        COMPONENT development)
configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/cupel-config.cmake.in"
  "${PROJECT_BINARY_DIR}/cupel-config.cmake" INSTALL_DESTINATION ${cupel_package_dir}
  NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/cupel-config-version.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/cupel-config.cmake"
              "${PROJECT_BINARY_DIR}/cupel-config-version.cmake"
        DESTINATION ${cupel_package_dir} COMPONENT development)

# Where an installed libcupel looks for LibTorch: beside itself in site-packages, then where it was
# built. A wheel that travels must not carry the second, a folder that may be anybody's elsewhere.
option(CUPEL_INSTALL_TORCH_PATH "Keep the path of the LibTorch built against in installed files" ON)
set(cupel_torch_rpath "")
if(CUPEL_INSTALL_TORCH_PATH)
  get_filename_component(cupel_torch_rpath "${TORCH_LIBRARY}" DIRECTORY)
endif()
set_target_properties(cupel PROPERTIES INSTALL_RPATH "$ORIGIN/../../torch/lib;${cupel_torch_rpath}")

if(TARGET _cupel)
  set_target_properties(_cupel PROPERTIES
    INSTALL_RPATH "$ORIGIN/lib;$ORIGIN/../torch/lib;${cupel_torch_rpath}")
  install(TARGETS _cupel LIBRARY DESTINATION . COMPONENT python EXCLUDE_FROM_ALL)
  install(FILES "${PROJECT_BINARY_DIR}/python/_build.py" "${PROJECT_BINARY_DIR}/python/_cupel.pyi"
          DESTINATION . COMPONENT python EXCLUDE_FROM_ALL OPTIONAL)
endif()
