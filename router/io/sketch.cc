#include "router/io/sketch.h"

#include <array>

#include "base/hash.h"

namespace sluice::router {
namespace {

constexpr size_t kMaxChunks = size_t{1} << 14;  // 8 MiB of text have names; the rest counts as new
constexpr size_t kMaxTenantBytes = 64;

// A tenant's name where one is given, else a name for his key, so that keys do not get into logs.
std::string tenant_of(const HttpRequest& request, const SketchOptions& options) {
  if (const std::string* name = request.headers.find(options.tenant_header)) {
    return name->substr(0, kMaxTenantBytes);
  }
  const std::string* key = request.headers.find("authorization");
  if (key == nullptr) key = request.headers.find("x-api-key");
  if (key == nullptr) return "";
  constexpr char kDigits[] = "0123456789abcdef";
  uint64_t hash = hash_bytes(key->data(), key->size(), options.secret);
  std::string name = "key-";
  for (int i = 0; i < 12; ++i, hash >>= 4) name += kDigits[hash & 15];
  return name;
}

PromptChain chain_of(const BodyScan& scan, std::string_view model, uint32_t block_tokens, uint64_t secret) {
  PromptChain chain;
  if (const auto ids = prompt_ids(scan.prompt, kMaxChunks * 64)) {
    chain.kind = PromptChain::Kind::kBlocks;
    chain.unit = block_tokens;
    chain.size = ids->size();
    chain.hashes.resize(ids->size() / block_tokens);
    const uint64_t salt =
        scan.cache_salt.empty() ? 0 : hash_bytes(scan.cache_salt.data(), scan.cache_salt.size());
    chain.hashes.resize(chain_blocks(salt, *ids, block_tokens, chain.hashes));
    return chain;
  }
  const std::array<std::string_view, 5> fields = {model, scan.cache_salt, scan.tools, scan.template_arguments,
                                                  scan.template_text};
  chain.hashes.resize(std::min((scan.instructions.size() + scan.prompt.size()) / kChunkBytes, kMaxChunks));
  TextChain text(text_seed(secret, fields), chain.hashes);
  text.add(scan.instructions);
  text.add(scan.prompt);
  chain.size = text.bytes() + scan.tools.size();
  chain.hashes.resize(text.hashes().size());
  return chain;
}

}  // namespace

RequestSketch make_sketch(const SketchSource& source, const SketchOptions& options, Seconds now) {
  const BodyScan& scan = source.scan;
  RequestSketch sketch;
  sketch.model = scan.model.empty() ? std::string(source.default_model) : scan.model;
  const std::string* named = source.request.headers.find(options.session_header);
  const std::string& session = named != nullptr ? *named : scan.user;
  if (!source.model.empty()) {
    sketch.model = source.model;
  } else if (const auto alias = options.aliases.find(sketch.model); alias != options.aliases.end()) {
    const ModelAlias& targets = alias->second;
    const uint64_t key = targets.size() > 1 ? assignment_key(session, scan) : 0;
    sketch.model = assigned_model(targets, key, source.has_ready);
  }
  sketch.tenant = tenant_of(source.request, options);
  sketch.priority = -scan.priority;  // the body's, as vLLM has it: the lower, the earlier
  sketch.prompt = chain_of(scan, sketch.model, source.block_tokens, options.secret);
  if (!session.empty()) {
    sketch.session_key = hash_bytes(session.data(), session.size(), options.secret) | 1;
  }
  sketch.max_tokens = scan.max_tokens;
  sketch.deadline = now + (scan.stream ? options.first_byte_timeout : options.request_timeout);
  sketch.hedgeable = scan.stream;
  return sketch;
}

}  // namespace sluice::router
