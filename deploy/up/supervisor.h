// Decides which replicas run: how many by the HorizontalPodAutoscaler's own arithmetic (server/scaling/hpa.h)
// on the router's demand, which one goes (the least in flight), when a crashed one comes back. Starts no
// process and reads no clock: events come in with the time, steps go out. A value; one thread.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "server/scaling/hpa.h"

namespace sluice::up {

struct SupervisorOptions {
  HpaSpec hpa;                   // with the bounds and both windows; looked at every hpa.sync seconds
  double startup_timeout = 900;  // a replica that loads for longer is killed, and tried again
  double hung_timeout = 60;      // the same for one that fails its health checks for so long
  // Between leaving the router's list and SIGTERM: what the router sent just before arrives in this time.
  double notice = 0.5;
  // After a crash: doubled with each in a row, and begun anew once a replica was ready for `steady`.
  double first_backoff = 1, longest_backoff = 60, steady = 60;
  double stale = 5;  // what the router said longer ago is not acted upon: all stays as it is
};

// What the router knows of a replica.
struct Sight {
  int number = 0;
  bool is_ready = false;
  bool is_unhealthy = false;
  double in_flight = 0;
};

enum class ReplicaState : uint8_t {
  kWaiting,  // to be started, perhaps after a crash
  kLoading,
  kReady,
  kLeaving,  // no longer in the list; finishes what it has
};

struct Replica {
  ReplicaState state = ReplicaState::kWaiting;
  double since = 0;        // in this state
  double due = 0;          // waiting: when to start; leaving: when to send SIGTERM
  bool is_told = false;    // leaving: SIGTERM was sent
  bool is_killed = false;  // SIGKILL was sent
  int failures = 0;        // in a row
  double sick_since = -1;  // fails its health checks since; -1: does not
  double in_flight = 0;
};

struct Step {
  enum class Kind : uint8_t { kStart, kStop, kKill } kind;  // kStop: SIGTERM
  int number;
  bool operator==(const Step&) const = default;
};

class Supervisor {
 public:
  explicit Supervisor(const SupervisorOptions& options);

  // The router's word: the sum of its models' demand, and the replicas that it sees.
  void hear(double demand, std::span<const Sight> sights, double now);
  // The process of a replica is no more.
  void ended(int number, double now);
  // What is to be done now, in order. Call it again and again.
  std::vector<Step> advance(double now);

  // The replicas by number (from 1; the lowest free one is taken).
  const std::map<int, Replica>& replicas() const { return replicas_; }
  bool is_listed(int number) const;  // the router is to know of it
  int desired() const { return desired_; }
  int count(ReplicaState state) const;
  // A replica ended before any was ever ready: what is wrong is wrong with all of them.
  bool is_hopeless() const { return hopeless_; }

 private:
  void enter(Replica& replica, ReplicaState state, double now);
  void look(double now);
  void reconcile(double now);
  void add(double now);
  void release_one(double now);

  const SupervisorOptions options_;
  Hpa hpa_;
  std::map<int, Replica> replicas_;
  int desired_;
  double demand_ = 0;
  double heard_ = -1e9;
  double next_look_ = 0;
  bool was_ready_ = false;
  bool hopeless_ = false;
};

}  // namespace sluice::up
