// The on-disk layout in which the Hugging Face hub's tools keep one repository's files, shared with them:
//   models--org--name/refs/<revision>              the commit that a branch or tag stood at, as text
//   models--org--name/blobs/<etag>                 a file's bytes, named by their hash
//   models--org--name/snapshots/<commit>/<file>    -> ../../blobs/<etag>
//   .locks/models--org--name/<etag>.lock           held while a blob is written
// Source: https://huggingface.co/docs/huggingface_hub/guides/manage-cache. Every file appears whole: written
// elsewhere, then renamed. Names come in checked (models/model_name.h). Any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice {

class HubCache {
 public:
  HubCache(const std::string& cache_directory, const std::string& repository);

  std::string blob_path(const std::string& etag) const;
  std::string incomplete_path(const std::string& etag) const { return blob_path(etag) + ".incomplete"; }
  std::string lock_path(const std::string& etag) const;
  std::string snapshot_path(const std::string& commit) const;
  bool has_file(const std::string& commit, const std::string& file) const;
  // Names of the snapshot's top-level files, sorted.
  std::vector<std::string> files_of(const std::string& commit) const;

  // The commit last seen at `revision`; a commit is its own. Empty when never seen.
  std::string read_ref(const std::string& revision) const;
  Status write_ref(const std::string& revision, const std::string& commit) const;
  // Makes the snapshot's file point to the blob, which is there.
  Status link(const std::string& commit, const std::string& file, const std::string& etag) const;

  static bool is_safe_etag(std::string_view etag);

 private:
  std::string folder_;
  std::string locks_;
};

}  // namespace sluice
