// The door at which KEDA asks, and is told at once when a model is to be woken: the external-push scaler of
// libsluice_keda.so, fed with what the demand board says.
#pragma once

#include <memory>

#include "base/result.h"
#include "router/io/dispatcher.h"
#include "router/io/errand.h"
#include "router/io/options_scaling.h"

namespace sluice::router {

// An errand that copies the board's word for the threads that KEDA asks. `dispatcher` outlives it.
// kUnsupported when this build has no gRPC, kIo when the port cannot be listened at. Any thread.
Result<std::unique_ptr<Errand>> open_keda_door(const KedaOptions& options, const Dispatcher& dispatcher);

}  // namespace sluice::router
