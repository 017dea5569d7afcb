# The kernels and what stands on them, compiled by nvcc for GPUs and by the C++ compiler for the emulated one.
set(cuda_kernels
  attention_decode.cu attention_prefill.cu kv_copy.cu matmul_fp8.cu matmul_skinny.cu matmul_tiled.cu
  pointwise.cu sampling_adjust.cu sampling_draw.cu)
set(cuda_sources
  attention_plan.cc cuda_backend.cc device_weight.cc fp8_products.cc peaks.cc quantised_layout.cc
  sampling_rows.cc step_graphs.cc step_sampler.cc step_stage.cc weight_upload.cc)
