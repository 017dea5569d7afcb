#include "server/api/background_runs.h"

#include "base/log.h"
#include "server/net/io_threads.h"

namespace sluice {
namespace {

// The sentence of an error's body.
std::string message_of(const std::string& body) {
  const auto json = JsonText::check(body, 8);
  auto fields = json.ok() ? RequestFields::of(*json, "") : Result<RequestFields>(json.error());
  const auto error = fields.ok() ? fields->object("error") : std::nullopt;
  auto members = error ? RequestFields::of(*error, "") : Result<RequestFields>(invalid_argument("", ""));
  return members.ok() ? members->string("message", body.size()).value_or(body) : body;
}

}  // namespace

void BackgroundRuns::add(std::shared_ptr<BackgroundRun> run) {
  std::lock_guard lock(mutex_);
  runs_.insert(std::move(run));
}

void BackgroundRuns::let_go(BackgroundRun& run) {
  std::shared_ptr<BackgroundRun> held;
  {
    std::lock_guard lock(mutex_);
    const auto found = runs_.find(run.shared_from_this());
    if (found == runs_.end()) return;
    held = *found;
    runs_.erase(found);
    ++leaving_;
  }
  IoThread& io = held->io();
  io.post([this, held = std::move(held)]() mutable {
    held->drop();
    held.reset();
    std::lock_guard lock(mutex_);
    --leaving_;
    gone_.notify_all();
  });
}

int BackgroundRuns::count() const {
  std::lock_guard lock(mutex_);
  return static_cast<int>(runs_.size());
}

void BackgroundRuns::stop() {
  std::vector<std::shared_ptr<BackgroundRun>> all;
  {
    std::lock_guard lock(mutex_);
    all.assign(runs_.begin(), runs_.end());
  }
  for (const auto& run : all) let_go(*run);
  all.clear();
  std::unique_lock lock(mutex_);
  gone_.wait(lock, [this] { return leaving_ == 0; });
}

void BackgroundRun::run(std::shared_ptr<Generation> generation, std::shared_ptr<GenerationPlan> plan,
                        WorkPool& pool) {
  generation_ = std::move(generation);
  starting_ = true;
  generation_->start(0, pool,
                     [plan = std::move(plan)]() -> Result<GenerationPlan> { return std::move(*plan); });
  starting_ = false;
}

void BackgroundRun::respond(HttpResponse response) {
  // A whole answer is in the store by now; what is left to tell is why there is none.
  if (response.status != 200) {
    if (starting_) {
      store_.abandon(id_);
      refusal_ = std::move(response);
    } else {
      store_.fail(id_, {ErrorCode::kInternal, message_of(response.body)});
    }
  }
  if (log_ != nullptr) log_->close();
  runs_.let_go(*this);
}

bool BackgroundRun::write(std::string_view bytes) {
  if (log_ == nullptr || log_->append(bytes)) return true;
  log::warn("response resp_{}: its events are more than the server keeps; cancelled", id_);
  log_->close();
  store_.fail(id_, {ErrorCode::kTooLarge, "The response has more events than the server keeps."});
  runs_.let_go(*this);
  return false;
}

void BackgroundRun::end() {
  if (log_ != nullptr) log_->close();
  runs_.let_go(*this);
}

}  // namespace sluice
