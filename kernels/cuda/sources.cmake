# The kernels and what stands on them, compiled by nvcc for GPUs and by the C++ compiler for the emulated one.
set(cuda_kernels kv_copy.cu pointwise.cu sampling_adjust.cu sampling_draw.cu)
set(cuda_sources sampling_rows.cc)
