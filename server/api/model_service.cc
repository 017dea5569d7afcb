#include "server/api/model_service.h"

#include <fmt/format.h>

namespace sluice {

Result<std::string> ModelService::answer_name(const std::string& asked) const {
  if (asked.empty()) return cards.front().id;
  std::string names;
  for (const ModelCard& card : cards) {
    if (card.id == asked) return asked;
    names += names.empty() ? "" : ", ";
    names += card.id;
  }
  return Error{
      ErrorCode::kNotFound,
      fmt::format("The model '{}' does not exist. This server serves: {}.", asked.substr(0, 200), names),
      "model"};
}

Result<std::shared_ptr<ModelService>> ServiceSlot::get() const {
  if (phase_ == ServingPhase::kDraining) {
    return Error{ErrorCode::kUnavailable, "The server is shutting down and takes no new requests.", "", 5};
  }
  std::lock_guard lock(mutex_);
  if (service_ == nullptr) {
    return Error{ErrorCode::kUnavailable,
                 fmt::format("The model is still loading ({:.0f}%); try again soon.", progress_.load() * 100),
                 "", 1};
  }
  return service_;
}

std::optional<double> ServiceSlot::progress() const {
  std::lock_guard lock(mutex_);
  return service_ == nullptr ? std::optional(progress_.load()) : std::nullopt;
}

std::shared_ptr<ModelService> ServiceSlot::peek() const {
  std::lock_guard lock(mutex_);
  return service_;
}

void ServiceSlot::serve(std::shared_ptr<ModelService> service) {
  std::lock_guard lock(mutex_);
  service_ = std::move(service);
  ServingPhase loading = ServingPhase::kLoading;
  phase_.compare_exchange_strong(loading, ServingPhase::kServing);  // a drain that began meanwhile stays
}

void ServiceSlot::begin_leaving() {
  phase_ = ServingPhase::kLeaving;
  std::lock_guard lock(mutex_);
  if (service_ != nullptr) service_->engine->begin_leaving();
}

void ServiceSlot::begin_drain() {
  phase_ = ServingPhase::kDraining;
  std::lock_guard lock(mutex_);
  if (service_ != nullptr) service_->engine->begin_drain();
}

void ServiceSlot::clear() {
  std::lock_guard lock(mutex_);
  service_ = nullptr;
}

}  // namespace sluice
