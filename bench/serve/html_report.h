// An experiment as one page with pictures: no script, no other file, so that it can be mailed and kept. Pure.
#pragma once

#include <string>

#include "bench/serve/result_text.h"

namespace sluice::bench {

std::string html_report(const Experiment& experiment, const Flags& flags, const Plan& plan,
                        const Setting& setting);

}  // namespace sluice::bench
