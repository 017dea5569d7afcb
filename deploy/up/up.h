// Runs a router and as many replicas as the load asks for, as processes: starts and stops what the supervisor
// says, tells the router which replicas there are, passes on what all of them print. The main thread's.
#pragma once

#include <signal.h>

#include <string>

#include "deploy/up/options.h"
#include "deploy/up/screen.h"

namespace sluice::up {

struct UpWorld {
  std::string serve_program, route_program;  // paths
  std::string folder;                        // for the list of replicas; exists, and is ours
  std::string machine_gpus;                  // CUDA_VISIBLE_DEVICES
  bool names_gpus = false;                   // it is set
  std::string replica_key;  // made up for this run: what the router shows to replicas where the door has keys
  ScreenOptions screen;
  sigset_t signals{};  // blocked in every thread: SIGINT, SIGTERM, SIGHUP, SIGCHLD
};

// Until a signal ends it, or it cannot go on: the exit status.
int run_up(const UpOptions& options, const UpWorld& world);

}  // namespace sluice::up
