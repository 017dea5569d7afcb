# shellcheck shell=bash
# What compiles the CUDA backend: a CUDA 13 toolkit of the machine, or one assembled below build/ from
# NVIDIA's own wheels, which need neither a GPU nor a driver. Sourced after scripts/setup.sh, from the
# repository's root.

cuda_version=13.0
cuda_assembled=build/cuda-$cuda_version
# All from NVIDIA, under the CUDA EULA; some 720 MB, of them 620 MB cuBLAS and NCCL.
cuda_wheels=(
  nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-runtime==13.0.96
  nvidia-cuda-cccl==13.0.85 nvidia-cublas==13.1.0.3 nvidia-nccl-cu13==2.28.9
  nvidia-cuda-cuobjdump==13.2.86 nvidia-cuda-nvdisasm==13.2.86)

# The folder of a toolkit 13 that is there; empty when none is.
cuda_toolkit() {
  local folder nvcc
  for folder in ${CUDAToolkit_ROOT:+"$CUDAToolkit_ROOT"} ${CUDA_HOME:+"$CUDA_HOME"} "$PWD/$cuda_assembled" \
    /usr/local/cuda "$(dirname "$(dirname "$(type -p nvcc || echo /none/bin/nvcc)")")"; do
    nvcc=$folder/bin/nvcc
    if [ -x "$nvcc" ] && "$nvcc" --version | grep -q 'release 13\.'; then echo "$folder"; return; fi
  done
}

# Makes the wheels look like a toolkit: CMake and nvcc look for lib64 and for libraries without versions.
arrange_cuda_toolkit() {
  local from=$1 to=$2 library
  cp -al "$from/nvidia/cu13" "$to"
  cp -al "$from"/nvidia/nccl/include/. "$to/include/"
  cp -al "$from"/nvidia/nccl/lib/libnccl.so.2 "$to/lib/"
  chmod -R u+x "$to/bin" "$to/nvvm/bin"
  ln -sfn lib "$to/lib64"
  for library in "$to"/lib/*.so.*; do ln -sfn "${library##*/}" "${library%%.so.*}.so"; done
  echo '{"cuda": {"name": "CUDA SDK", "version": "13.0.2"}}' >"$to/version.json"
}

install_cuda_toolkit() {
  local work python=python3
  [ -n "$(cuda_toolkit)" ] && return
  say "Assembling a CUDA $cuda_version toolkit from NVIDIA's wheels (720 MB, once) in $cuda_assembled"
  mkdir -p build
  work=$(mktemp -d build/cuda.XXXXXX)
  # shellcheck disable=SC2064
  trap "rm -rf '$work'" EXIT
  if ! python3 -m pip --version >/dev/null 2>&1; then
    python3 -m venv "$work/venv"
    python=$work/venv/bin/python
  fi
  # Installed, not unpacked: so that hashes are checked and programs may be run.
  "$python" -m pip install --disable-pip-version-check --quiet --no-deps --no-compile --only-binary=:all: \
    --root-user-action=ignore --target "$work/site" "${cuda_wheels[@]}" ||
    fail "pip could not get the CUDA toolkit: see its words above. Or install CUDA 13 and set CUDA_HOME."
  arrange_cuda_toolkit "$work/site" "$work/toolkit"
  mv "$work/toolkit" "$cuda_assembled"
  rm -rf "$work"
  trap - EXIT
}
