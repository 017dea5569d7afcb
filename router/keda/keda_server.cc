#include "router/keda/keda_server.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/resource_quota.h>

#include <atomic>
#include <cmath>
#include <memory>
#include <optional>

#include "externalscaler.grpc.pb.h"
#include "server/scaling/label_selector.h"

namespace sluice::router {
namespace {

constexpr const char* kMetric = "sluice-demand-replicas";
constexpr std::chrono::milliseconds kLook{250};  // how soon a stream notices that nobody reads it any more
constexpr int kMaxStreams = 64;                  // one for each ScaledObject
constexpr int kMaxMessageBytes = 64 << 10;

class Scaler final : public externalscaler::ExternalScaler::Service {
 public:
  explicit Scaler(const KedaSource& source) : source_(source) {}
  void close() { is_closing_ = true; }

  grpc::Status IsActive(grpc::ServerContext*, const externalscaler::ScaledObjectRef* asked,
                        externalscaler::IsActiveResponse* answer) override {
    KedaModel model;
    if (grpc::Status status = find(*asked, model); !status.ok()) return status;
    answer->set_result(model.active);
    return grpc::Status::OK;
  }

  grpc::Status StreamIsActive(grpc::ServerContext* call, const externalscaler::ScaledObjectRef* asked,
                              grpc::ServerWriter<externalscaler::IsActiveResponse>* writer) override {
    const Place place(streams_);
    if (!place) return {grpc::StatusCode::RESOURCE_EXHAUSTED, "There are as many streams as there may be."};
    std::optional<bool> told;
    while (!is_closing_ && !call->IsCancelled()) {
      KedaModel model;
      if (grpc::Status status = find(*asked, model); !status.ok()) return status;
      if (told != model.active) {
        externalscaler::IsActiveResponse answer;
        answer.set_result(model.active);
        if (!writer->Write(answer)) break;
        told = model.active;
      }
      source_.wait(kLook);
    }
    return grpc::Status::OK;
  }

  grpc::Status GetMetricSpec(grpc::ServerContext*, const externalscaler::ScaledObjectRef* asked,
                             externalscaler::GetMetricSpecResponse* answer) override {
    KedaModel model;
    if (grpc::Status status = find(*asked, model); !status.ok()) return status;
    externalscaler::MetricSpec* spec = answer->add_metricspecs();
    spec->set_metricname(kMetric);
    spec->set_targetsize(1);  // demand is a number of replicas
    spec->set_targetsizefloat(1);
    return grpc::Status::OK;
  }

  grpc::Status GetMetrics(grpc::ServerContext*, const externalscaler::GetMetricsRequest* asked,
                          externalscaler::GetMetricsResponse* answer) override {
    KedaModel model;
    if (grpc::Status status = find(asked->scaledobjectref(), model); !status.ok()) return status;
    externalscaler::MetricValue* value = answer->add_metricvalues();
    value->set_metricname(asked->metricname().empty() ? kMetric : asked->metricname());
    value->set_metricvalue(static_cast<int64_t>(std::ceil(model.demand)));
    value->set_metricvaluefloat(model.demand);
    return grpc::Status::OK;
  }

 private:
  class Place {
   public:
    explicit Place(std::atomic<int>& taken) : taken_(taken), is_mine_(++taken <= kMaxStreams) {}
    ~Place() { --taken_; }
    explicit operator bool() const { return is_mine_; }

   private:
    std::atomic<int>& taken_;
    const bool is_mine_;
  };

  // The model that the trigger names, as it is or as a label's value; or the only one there is.
  grpc::Status find(const externalscaler::ScaledObjectRef& asked, KedaModel& found) const {
    const auto at = asked.scalermetadata().find("model");
    const std::string name = at == asked.scalermetadata().end() ? "" : at->second;
    const std::vector<KedaModel> models = source_.models();
    std::string known;
    for (const KedaModel& model : models) {
      known += (known.empty() ? "" : ", ") + model.model;
      if (name.empty() ? models.size() > 1 : model.model != name && label_form(model.model) != name) continue;
      found = model;
      return grpc::Status::OK;
    }
    if (models.empty()) return {grpc::StatusCode::NOT_FOUND, "No model is known yet; name it by --model."};
    if (name.empty()) {
      return {grpc::StatusCode::INVALID_ARGUMENT,
              "There are several models; the trigger's metadata must name one as 'model': " + known + "."};
    }
    return {grpc::StatusCode::NOT_FOUND,
            "No replica ever served a model of that name, and no --model names it; there are " + known + "."};
  }

  const KedaSource& source_;
  std::atomic<int> streams_ = 0;
  std::atomic<bool> is_closing_ = false;
};

class Server final : public KedaServer {
 public:
  Server(const std::string& address, const KedaSource& source) : scaler_(source) {
    grpc::ServerBuilder builder;
    // Another process at this port is a fault, not company.
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
    grpc::ResourceQuota quota;
    quota.SetMaxThreads(kMaxStreams + 8);
    builder.SetResourceQuota(quota);
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&scaler_);
    server_ = builder.BuildAndStart();
  }
  ~Server() override {
    scaler_.close();
    if (server_ == nullptr) return;
    server_->Shutdown(std::chrono::system_clock::now() + 2 * kLook);
    server_->Wait();
  }
  int port() const override { return server_ == nullptr ? 0 : port_; }

 private:
  Scaler scaler_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace
}  // namespace sluice::router

extern "C" __attribute__((visibility("default"))) sluice::router::KedaServer* sluice_open_keda_1(
    const std::string& address, const sluice::router::KedaSource& source, std::string& fault) {
  auto server = std::make_unique<sluice::router::Server>(address, source);
  if (server->port() != 0) return server.release();
  fault = "Cannot listen at " + address + ": it is in use, or no address of this machine.";
  return nullptr;
}
