// An experiment as text: the table in the terminal, the JSON that other tools read, the CSV of requests.
// Pure.
#pragma once

#include <string>

#include "bench/serve/experiment.h"

namespace sluice::bench {

// What the files tell beside the figures.
struct Setting {
  std::string date;  // local, 20261121-180000, as vLLM's tool writes it
  std::string backend, model, base_url, endpoint, dataset, label, command;
  bool is_exact_lexicon = false;
};

std::string table_of(const Experiment& experiment, const Plan& plan, const Setting& setting);
// One point: an object with the field names of `vllm bench serve`. Several: the same in `points`, and the
// found rate.
std::string json_of(const Experiment& experiment, const Flags& flags, const Plan& plan,
                    const Setting& setting);
std::string csv_of(const Experiment& experiment, const Workload& workload);

}  // namespace sluice::bench
