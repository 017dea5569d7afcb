# The CUDA language, by a toolkit of the machine or the one that scripts/cuda_toolkit.sh assembles.
find_program(SLUICE_NVCC nvcc REQUIRED
  HINTS ${CUDAToolkit_ROOT} $ENV{CUDA_HOME} ${CMAKE_SOURCE_DIR}/build/cuda-13.0 /usr/local/cuda
  PATH_SUFFIXES bin NO_DEFAULT_PATH
  DOC "NVIDIA's compiler, of CUDA 13; ./run --cuda gets one")
find_program(SLUICE_NVCC nvcc REQUIRED)
set(CMAKE_CUDA_COMPILER ${SLUICE_NVCC})
set(CMAKE_CUDA_HOST_COMPILER ${CMAKE_CXX_COMPILER})
get_filename_component(CUDAToolkit_ROOT ${SLUICE_NVCC}/../.. ABSOLUTE)
# A100, H100 and H200, B200: machine code for each, no PTX to compile at the first start.
set(CMAKE_CUDA_ARCHITECTURES "80-real;90a-real;100-real" CACHE STRING "GPUs to compile for")
# CMake before 3.26 has no word for C++20 in CUDA, and must not insist on one.
set(CMAKE_CUDA_STANDARD_REQUIRED OFF)
set(CMAKE_CUDA_FLAGS "${CMAKE_CUDA_FLAGS} -std=c++20 --expt-relaxed-constexpr")
if(CCACHE AND NOT CMAKE_CUDA_COMPILER_LAUNCHER)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
endif()
set(CMAKE_CUDA_FLAGS_RELEASE "-O3 -DNDEBUG -lineinfo")
enable_language(CUDA)
find_package(CUDAToolkit 13 REQUIRED)
