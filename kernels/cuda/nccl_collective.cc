#include "kernels/cuda/nccl_collective.h"

#include <dlfcn.h>
#include <nccl.h>

#include <map>
#include <string>
#include <vector>

#include "kernels/cuda/runtime.h"

namespace sluice::cuda {
namespace {

constexpr int kOldest = 21800;  // 2.18, as NCCL counts

// The functions we call, by their names in nccl.h.
struct Functions {
#define SLUICE_NCCL(name) decltype(&::name) name = nullptr;
#define SLUICE_NCCL_ALL              \
  SLUICE_NCCL(ncclGetVersion)        \
  SLUICE_NCCL(ncclGetUniqueId)       \
  SLUICE_NCCL(ncclCommInitRank)      \
  SLUICE_NCCL(ncclCommDestroy)       \
  SLUICE_NCCL(ncclCommAbort)         \
  SLUICE_NCCL(ncclGetErrorString)    \
  SLUICE_NCCL(ncclCommGetAsyncError) \
  SLUICE_NCCL(ncclGroupStart)        \
  SLUICE_NCCL(ncclGroupEnd)          \
  SLUICE_NCCL(ncclAllReduce)         \
  SLUICE_NCCL(ncclAllGather)         \
  SLUICE_NCCL(ncclBroadcast)
  SLUICE_NCCL_ALL
#undef SLUICE_NCCL
};

Error unavailable(const std::string& message) {
  return {ErrorCode::kUnavailable, message, "--tensor-parallel-size"};
}

Result<Functions> open_nccl() {
  // The library itself is never closed: it leaves threads behind.
  void* const library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const reason = dlerror();
    return unavailable(std::string("Several GPUs need NCCL 2, which is not there (") +
                       (reason == nullptr ? "?" : reason) +
                       "). It comes with PyTorch and as libnccl2; put its folder into LD_LIBRARY_PATH.");
  }
  Functions functions;
  std::string missing;
#define SLUICE_NCCL(name)                                                             \
  functions.name = reinterpret_cast<decltype(functions.name)>(dlsym(library, #name)); \
  if (functions.name == nullptr) missing = #name;
  SLUICE_NCCL_ALL
#undef SLUICE_NCCL
  if (!missing.empty()) return unavailable("libnccl.so.2 has no " + missing + "; it is not NCCL 2.");
  int version = 0;
  if (functions.ncclGetVersion(&version) != ncclSuccess || version < kOldest) {
    return unavailable("libnccl.so.2 has version " + std::to_string(version) + "; " +
                       std::to_string(kOldest) + " (2.18) or later is needed.");
  }
  return functions;
}

class NcclCollective final : public Collective {
 public:
  NcclCollective(const Functions& functions, ncclComm_t group, DeviceRank rank, Stream stream,
                 MemoryMoves& moves)
      : f_(functions), group_(group), rank_(rank), stream_(stream), gathered_(moves), exchanged_(moves) {}
  ~NcclCollective() override {
    if (group_ != nullptr) f_.ncclCommDestroy(group_);
  }

  DeviceRank rank() const override { return rank_; }

  Status all_reduce(TensorView x) override {
    SLUICE_CHECK(x.dtype == DType::kBF16);
    SLUICE_CHECK_EQ(x.row_stride, x.columns);
    if (x.rows == 0) return {};
    return told(f_.ncclAllReduce(x.bytes, x.bytes, static_cast<size_t>(x.rows * x.columns), ncclBfloat16,
                                 ncclSum, group_, stream_));
  }

  // The ranks' parts lie one after another first, each [T, its C], and are then dealt out to the rows.
  Status all_gather(TensorView x, TensorView out) override {
    if (out.rows == 0) return {};
    SLUICE_TRY(learn_widths(x.columns, out.columns));
    const std::vector<int32_t>& widths = widths_.at(out.columns);
    const size_t element = bytes_of(out.dtype);
    const auto part = [&](int64_t columns) { return static_cast<size_t>(out.rows * columns) * element; };
    const auto stride = [&](const TensorView& view) {
      return static_cast<size_t>(view.row_stride) * element;
    };
    const auto width = [&](int64_t columns) { return static_cast<size_t>(columns) * element; };
    std::byte* const all = gathered_.of<std::byte>(part(out.columns), stream_);
    int64_t first = 0;
    for (int r = 0; r < rank_.index; ++r) first += widths[static_cast<size_t>(r)];
    copy_rows_on_device(all + part(first), width(x.columns), x.bytes, stride(x), width(x.columns), out.rows,
                        stream_);
    SLUICE_TRY(told(f_.ncclGroupStart()));
    int64_t column = 0;
    for (int r = 0; r < rank_.count; column += widths[static_cast<size_t>(r++)]) {
      std::byte* const at = all + part(column);
      SLUICE_TRY(
          told(f_.ncclBroadcast(at, at, part(widths[static_cast<size_t>(r)]), ncclInt8, r, group_, stream_)));
    }
    SLUICE_TRY(told(f_.ncclGroupEnd()));
    column = 0;
    for (const int32_t columns : widths) {
      copy_rows_on_device(out.slice(column, columns).bytes, stride(out), all + part(column), width(columns),
                          width(columns), out.rows, stream_);
      column += columns;
    }
    return {};
  }

  // Kernels of this rank that wait for others end; the others see it as an error of their own.
  void abort(const std::string&) override {
    f_.ncclCommAbort(group_);
    group_ = nullptr;
  }

 private:
  // How wide each rank's part of rows of `all_columns` is; asked once, never in a recorded step: a shape's
  // first step is not recorded.
  Status learn_widths(int64_t mine, int64_t all_columns) {
    if (widths_.contains(all_columns)) return {};
    std::vector<int32_t> widths(static_cast<size_t>(rank_.count));
    const auto own = static_cast<int32_t>(mine);
    int32_t* const on_device = exchanged_.of<int32_t>(widths.size(), stream_);
    copy_to_device(on_device + rank_.index, &own, sizeof own, stream_);
    SLUICE_TRY(told(f_.ncclAllGather(on_device + rank_.index, on_device, 1, ncclInt32, group_, stream_)));
    copy_to_host(widths.data(), on_device, widths.size() * sizeof(int32_t), stream_);
    synchronize(stream_);
    int64_t sum = 0;
    for (const int32_t width : widths) sum += width;
    SLUICE_CHECK_EQ(sum, all_columns);
    widths_.emplace(all_columns, std::move(widths));
    return {};
  }

  // What a call answered, and what has come of those before it.
  Status told(ncclResult_t result) const {
    ncclResult_t earlier = ncclSuccess;
    if (result == ncclSuccess) result = f_.ncclCommGetAsyncError(group_, &earlier);
    if (result == ncclSuccess) result = earlier;
    if (result == ncclSuccess || result == ncclInProgress) return {};
    return Error{ErrorCode::kUnavailable,
                 "The ranks cannot go on: NCCL says to rank " + std::to_string(rank_.index) + ": " +
                     f_.ncclGetErrorString(result) + ".",
                 ""};
  }

  const Functions f_;
  ncclComm_t group_;
  const DeviceRank rank_;
  const Stream stream_;
  Scratch gathered_, exchanged_;
  std::map<int64_t, std::vector<int32_t>> widths_;
};

}  // namespace

Result<NcclId> make_nccl_id() {
  SLUICE_ASSIGN(const Functions functions, open_nccl());
  ncclUniqueId id{};
  if (const ncclResult_t result = functions.ncclGetUniqueId(&id); result != ncclSuccess)
    return unavailable(std::string("NCCL cannot be used: ") + functions.ncclGetErrorString(result) + ".");
  NcclId bytes;
  static_assert(sizeof id == sizeof bytes);
  std::memcpy(bytes.data(), &id, sizeof id);
  return bytes;
}

Result<std::unique_ptr<Collective>> make_nccl_collective(const NcclId& bytes, DeviceRank rank, Stream stream,
                                                         MemoryMoves& moves) {
  SLUICE_ASSIGN(const Functions functions, open_nccl());
  ncclUniqueId id{};
  std::memcpy(&id, bytes.data(), sizeof id);
  ncclComm_t group = nullptr;
  if (const ncclResult_t result = functions.ncclCommInitRank(&group, rank.count, id, rank.index);
      result != ncclSuccess) {
    return unavailable("NCCL cannot join " + std::to_string(rank.count) +
                       " GPUs: " + functions.ncclGetErrorString(result) + ".");
  }
  return std::unique_ptr<Collective>(std::make_unique<NcclCollective>(functions, group, rank, stream, moves));
}

}  // namespace sluice::cuda
