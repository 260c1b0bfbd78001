// error_code of Asio and the kernel to hf::Error, once.
#pragma once

#include <boost/system/error_code.hpp>
#include <string_view>

#include "base/result.hpp"

namespace hf::net {

/// `what` says which operation on which peer ("connect to 127.0.0.1:8000"). End of stream is
/// kClosed, a reset or a broken pipe kReset, an operation ended by our own close() kCancelled.
Error to_error(const boost::system::error_code& error, std::string_view what);

}  // namespace hf::net
