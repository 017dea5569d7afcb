#include "models/model_files.h"

#include <filesystem>

namespace sluice {

Result<ModelFiles> open_model_files(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return open_hugging_face_directory(path);
  return open_gguf(path);
}

}  // namespace sluice
