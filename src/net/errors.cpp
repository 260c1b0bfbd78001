#include "net/errors.hpp"

#include <boost/asio/error.hpp>

namespace hf::net {

Error to_error(const boost::system::error_code& error, std::string_view what) {
  namespace e = boost::asio::error;
  Code code = Code::kSystem;
  Retry retry = Retry::kNever;
  if (error == e::eof) {
    code = Code::kClosed;
    retry = Retry::kOtherWorker;
  } else if (error == e::connection_reset || error == e::broken_pipe ||
             error == e::connection_aborted || error == e::not_connected) {
    code = Code::kReset;
    retry = Retry::kOtherWorker;
  } else if (error == e::connection_refused) {
    code = Code::kRefused;
    retry = Retry::kOtherWorker;
  } else if (error == e::timed_out) {
    code = Code::kTimeout;
    retry = Retry::kOtherWorker;
  } else if (error == e::operation_aborted || error == e::bad_descriptor) {
    code = Code::kCancelled;  // our own close(), before or while the operation waited
  } else if (error == e::host_unreachable || error == e::network_unreachable ||
             error == e::network_down || error == e::host_not_found ||
             error == e::host_not_found_try_again || error == e::no_data ||
             error == e::no_recovery || error == e::service_not_found) {
    code = Code::kUnavailable;
    retry = Retry::kOtherWorker;
  }
  Error result;
  result.code = code;
  result.retry = retry;
  result.detail = std::string(what) + ": " + error.message();
  return result;
}

}  // namespace hf::net
