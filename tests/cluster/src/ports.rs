//! Ports that stay ours while nobody listens on them.
//!
//! A held port is a socket that is bound with SO_REUSEADDR and does not listen: a server that sets SO_REUSEADDR
//! too (mysqld and Sluice do) may bind and listen beside it, again and again, while the kernel gives the port to
//! nobody who asks for any free one. So a port is chosen without a race and survives restarts of its server.
//!
//! Must never hold anything but loopback.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, ipproto, socket_with, sockopt};

use crate::ClusterError;

/// One loopback port, ours until dropped.
#[derive(Debug)]
pub struct HeldPort {
    port: u16,
    _socket: OwnedFd,
}

impl HeldPort {
    /// Takes any free port of 127.0.0.1.
    ///
    /// # Errors
    /// If there is none, or no socket.
    pub fn any() -> Result<Self, ClusterError> {
        Self::take().map_err(|errno| ClusterError::io("hold a loopback port")(errno.into()))
    }

    fn take() -> rustix::io::Result<Self> {
        let socket =
            socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::TCP))?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
        let port = SocketAddr::try_from(getsockname(&socket)?)?.port();
        Ok(Self { port, _socket: socket })
    }

    /// The port's number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.port
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_held_port_refuses_until_a_server_listens_and_again_after_it() {
        let held = HeldPort::any().unwrap();
        let address = (Ipv4Addr::LOCALHOST, held.number());
        for _ in 0..2 {
            assert!(TcpStream::connect(address).is_err(), "nobody listens");
            let server = TcpListener::bind(address).unwrap(); // std sets SO_REUSEADDR
            assert!(TcpStream::connect(address).is_ok());
            drop(server);
        }
    }
}
