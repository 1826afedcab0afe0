include(CTest)
set(Slicer_STUB_RUNNER ${CMAKE_CURRENT_LIST_DIR}/../run_module.py)
find_program(Slicer_STUB_PYTHON NAMES python3 python REQUIRED)

# As Slicer's: a listed file must exist; listed files are copied, and installed, with their folders.
function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MY_UNPARSED_ARGUMENTS OR NOT MY_NAME)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule: unknown ${MY_UNPARSED_ARGUMENTS}, or no NAME")
  endif()
  set(built)
  foreach(file ${MY_SCRIPTS} ${MY_RESOURCES})
    if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${file})
      message(FATAL_ERROR "slicerMacroBuildScriptedModule given nonexistent file '${file}'")
    endif()
    set(copy ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}/${file})
    add_custom_command(OUTPUT ${copy} DEPENDS ${file}
      COMMAND ${CMAKE_COMMAND} -E copy ${CMAKE_CURRENT_SOURCE_DIR}/${file} ${copy})
    list(APPEND built ${copy})
    get_filename_component(folder ${file} DIRECTORY)
    install(FILES ${file} DESTINATION ${Slicer_QTSCRIPTEDMODULES_LIB_DIR}/${folder})
  endforeach()
  add_custom_target(${MY_NAME} ALL DEPENDS ${built})
  if(BUILD_TESTING AND MY_WITH_GENERIC_TESTS)
    add_test(NAME py_nomainwindow_qSlicer${MY_NAME}ModuleGenericTest
      COMMAND ${Slicer_STUB_PYTHON} ${Slicer_STUB_RUNNER} generic
        ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR} ${MY_NAME})
  endif()
endfunction()

function(slicer_add_python_unittest)
  cmake_parse_arguments(MY "" "SCRIPT;TESTNAME_PREFIX" "SLICER_ARGS" ${ARGN})
  get_filename_component(name ${MY_SCRIPT} NAME_WE)
  add_test(NAME py_${MY_TESTNAME_PREFIX}${name}
    COMMAND ${Slicer_STUB_PYTHON} ${Slicer_STUB_RUNNER} unittest
      ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR} ${name})
endfunction()
