// Runs every file of a corpus folder (and every prefix of it at 64 cuts) through a fuzz target, so that the
// corpus is a regression test with any compiler.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size);

int main(int argc, char** argv) {
  if (argc != 2 || !std::filesystem::is_directory(argv[1])) {
    std::fprintf(stderr, "usage: %s CORPUS_FOLDER\n", argv[0]);
    return 2;
  }
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(argv[1])) {
    if (!entry.is_regular_file()) continue;
    std::ifstream in(entry.path(), std::ios::binary);
    const std::vector<char> bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    for (size_t cut = 0; cut <= 64; ++cut) {
      // A copy of exactly the size, so that a sanitizer sees a read past its end.
      const std::vector<uint8_t> piece(bytes.begin(),
                                       bytes.begin() + static_cast<long>(bytes.size() * cut / 64));
      LLVMFuzzerTestOneInput(piece.data(), piece.size());
    }
    ++files;
  }
  std::printf("%d corpus files, each at 65 lengths\n", files);
  return files > 0 ? 0 : 1;
}
