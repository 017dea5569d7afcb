// The grammars that answers are held to: compiled once, off every thread that serves, kept while they are in
// use. Any thread.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/request.h"
#include "server/text/grammar.h"
#include "server/wire/output_format.h"

namespace sluice {

class GrammarCache {
 public:
  static constexpr size_t kMaxGrammars = 128;

  // `eos_ids`: every id that ends an answer.
  GrammarCache(std::shared_ptr<const Tokenizer> tokenizer, std::vector<int32_t> eos_ids)
      : tokenizer_(std::move(tokenizer)), eos_ids_(std::move(eos_ids)) {}

  // Null: not compiled yet.
  std::shared_ptr<const Grammar> find(const GrammarSource& source);
  // Compiles and keeps it. The error's param is the source's.
  Result<std::shared_ptr<const Grammar>> compile(const GrammarSource& source);
  // Of one answer.
  Result<std::shared_ptr<TokenConstraint>> constraint(const Grammar& grammar) const;

 private:
  using Key = std::pair<std::string, std::string>;
  struct Entry {
    std::shared_ptr<const Grammar> grammar;
    std::list<const Key*>::iterator use;
  };

  const std::shared_ptr<const Tokenizer> tokenizer_;
  const std::vector<int32_t> eos_ids_;
  std::mutex mutex_;
  std::map<Key, Entry> entries_;
  std::list<const Key*> by_use_;  // the latest first
};

}  // namespace sluice
