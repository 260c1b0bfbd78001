// The Asio names that the rest of Holdfast uses, all on one concrete executor.
//
// Everything here belongs to one core: one io_context(1), one thread, no strands. A coroutine is a
// Task; asynchronous calls take `tok` and give back `[error, result]`, nothing throws.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>

namespace hf::net {

namespace asio = boost::asio;

using Io = asio::io_context;
using Executor = Io::executor_type;

/// A coroutine on one core. Lazy: it starts when it is awaited or spawned (Core::spawn).
template <class T = void>
using Task = asio::awaitable<T, Executor>;

using Tcp = asio::ip::tcp;
using Socket = asio::basic_stream_socket<Tcp, Executor>;
using Acceptor = asio::basic_socket_acceptor<Tcp, Executor>;
using Resolver = asio::ip::basic_resolver<Tcp, Executor>;
using Timer = asio::basic_waitable_timer<std::chrono::steady_clock,
                                         asio::wait_traits<std::chrono::steady_clock>, Executor>;

/// The completion token of every asynchronous call: `auto [error, n] = co_await op(…, tok);`.
inline constexpr auto tok = asio::as_tuple(asio::use_awaitable_t<Executor>{});

}  // namespace hf::net
