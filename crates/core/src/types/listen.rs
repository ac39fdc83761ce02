//! Values that name where the operator listens.

use std::net::SocketAddr;

use super::shown;

string_type! {
    /// An address of this machine and a port: `127.0.0.1:9643`,
    /// `[::1]:9643`. `0.0.0.0` and `[::]`, which stand for all addresses, are
    /// refused.
    ListenAddress, check_listen_address,
    {"type": "string", "pattern": "^(\\[[0-9a-fA-F:.]+\\]|[0-9.]+):[0-9]{1,5}$", "maxLength": 64}
}

string_type! {
    /// An address that only this machine reaches, and a port:
    /// `127.0.0.1:9644`, `[::1]:9644`.
    LoopbackAddress, check_loopback_address,
    {"type": "string", "pattern": "^(\\[[0-9a-fA-F:.]+\\]|127[0-9.]+):[0-9]{1,5}$", "maxLength": 64}
}

impl LoopbackAddress {
    /// The address to bind.
    ///
    /// # Panics
    /// Never: only what parses is a value of this type.
    #[must_use]
    pub fn socket(&self) -> SocketAddr {
        self.as_str().parse().expect("it was checked")
    }
}

pub(super) fn check_loopback_address(text: &str) -> Result<(), String> {
    check_listen_address(text)?;
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(()),
        _ => Err(format!(
            "`{}` is not an address of this machine alone: write 127.0.0.1:9644 or [::1]:9644, and come from elsewhere through SSH (`ssh -L 9644:127.0.0.1:9644`)",
            shown(text)
        )),
    }
}

impl ListenAddress {
    /// The address to bind.
    ///
    /// # Panics
    /// Never: only what parses is a value of this type.
    #[must_use]
    pub fn socket(&self) -> SocketAddr {
        self.as_str().parse().expect("it was checked")
    }
}

pub(super) fn check_listen_address(text: &str) -> Result<(), String> {
    let example = "write an address of this machine and a port, for example 127.0.0.1:9643";
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().to_canonical().is_unspecified() => Err(format!(
            "`{}` would listen on every address: {example}",
            shown(text)
        )),
        Ok(address) if address.port() != 0 => Ok(()),
        _ => Err(format!("`{}` is not an address: {example}", shown(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_address_is_this_machines_alone() {
        for good in ["127.0.0.1:9644", "127.8.0.1:1", "[::1]:9644"] {
            assert!(good.parse::<LoopbackAddress>().is_ok(), "{good}");
        }
        for bad in ["10.0.0.1:9644", "[fe80::1]:1", "0.0.0.0:1", "localhost:1"] {
            let error = bad.parse::<LoopbackAddress>().unwrap_err();
            assert!(error.to_string().contains("127.0.0.1"), "{error}");
        }
    }

    #[test]
    fn one_address_and_a_port_are_wanted() {
        for good in ["127.0.0.1:9643", "[::1]:9643", "10.1.2.3:80"] {
            let address: ListenAddress = good.parse().unwrap();
            assert_eq!(address.socket().to_string(), good);
        }
        for all in ["0.0.0.0:9643", "[::]:9643", "[::ffff:0.0.0.0]:1"] {
            let error = all.parse::<ListenAddress>().unwrap_err();
            assert!(error.to_string().contains("every address"), "{error}");
        }
        for bad in [
            "",
            "9643",
            ":9643",
            "127.0.0.1",
            "127.0.0.1:0",
            "localhost:9643",
            "127.0.0.1:99999",
            "[fe80::1%eth0]:1\n",
        ] {
            let error = bad.parse::<ListenAddress>().unwrap_err();
            assert!(error.to_string().contains("127.0.0.1:9643"), "{error}");
        }
    }
}
