# sluice_library(NAME SOURCES a.cc … DEPS lower …): a static library of the house. DEPS are public: the floors
# below.
function(sluice_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC sluice_flags ${ARG_DEPS})
endfunction()

# sluice_test(NAME SOURCES a_test.cc … DEPS … [THREADS]): one GoogleTest binary, registered with ctest as
# a whole. THREADS: it has threads in it, so it runs under the thread sanitizer too.
function(sluice_test name)
  if(NOT SLUICE_BUILD_TESTS)
    return()
  endif()
  cmake_parse_arguments(ARG "THREADS" "TIMEOUT" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE sluice_flags ${ARG_DEPS} GTest::gtest GTest::gmock GTest::gtest_main)
  add_dependencies(unit_tests ${name})
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  if(ARG_TIMEOUT)
    set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT})
  else()
    set_tests_properties(${name} PROPERTIES TIMEOUT 600)
  endif()
  if(ARG_THREADS)
    set_tests_properties(${name} PROPERTIES LABELS threads)
    add_dependencies(threaded_tests ${name})
  endif()
endfunction()

# sluice_fuzzer(NAME SOURCES fuzz.cc DEPS … CORPUS folder): the entry point LLVMFuzzerTestOneInput. With clang
# and SLUICE_BUILD_FUZZERS a libFuzzer binary; always a `NAME_corpus` test that runs every corpus file through
# it.
function(sluice_fuzzer name)
  if(NOT SLUICE_BUILD_TESTS)
    return()
  endif()
  cmake_parse_arguments(ARG "" "CORPUS" "SOURCES;DEPS" ${ARGN})
  add_executable(${name}_corpus ${ARG_SOURCES} ${CMAKE_SOURCE_DIR}/tests/support/run_corpus.cc)
  target_link_libraries(${name}_corpus PRIVATE sluice_flags ${ARG_DEPS})
  add_dependencies(unit_tests ${name}_corpus)
  add_test(NAME ${name}_corpus COMMAND ${name}_corpus ${ARG_CORPUS} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  if(SLUICE_BUILD_FUZZERS)
    add_executable(${name} ${ARG_SOURCES})
    target_link_libraries(${name} PRIVATE sluice_flags ${ARG_DEPS})
    target_compile_options(${name} PRIVATE -fsanitize=fuzzer,address,undefined)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer,address,undefined)
  endif()
endfunction()
