//! `ip()`, `cidr()` and what can be asked of addresses.
//! Source: k8s.io/apiserver/pkg/cel/library/{ip,cidr}.go.

use cel::common::types::{CelBool, CelInt, CelString, Type};
use cel::common::value::{StaticVal, Val};
use cel::{DeclarationError, Env, ExecutionError};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::any::Any;

static IP: Type = Type::new_unspecified_type("net.IP");
static CIDR: Type = Type::new_unspecified_type("net.CIDR");

/// An address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ip(IpAddr);

/// An address and the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cidr {
    address: IpAddr,
    length: u8,
}

macro_rules! cel_value {
    ($type:ident, $cel_type:ident) => {
        impl Val for $type {
            fn get_type(&self) -> &Type {
                &$cel_type
            }
            fn cel_type() -> &'static Type {
                &$cel_type
            }
            fn equals(&self, other: &dyn Val) -> bool {
                other.downcast_ref::<Self>().is_some_and(|other| other == self)
            }
            fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
                Box::new(*self)
            }
            fn as_any(&self) -> Option<&dyn Any> {
                Some(self)
            }
        }
        impl StaticVal for $type {}
    };
}

cel_value!(Ip, IP);
cel_value!(Cidr, CIDR);

/// Adds the functions.
pub(in crate::policy) fn register(env: &mut Env) -> Result<(), DeclarationError> {
    cel::add_overload!(env, fn ip: (CelString) -> Result<Ip>)?;
    cel::add_overload!(env, fn is_ip: (CelString) -> CelBool, name = "isIP")?;
    cel::add_overload!(env, fn is_canonical: (CelString) -> Result<CelBool>, name = "ip.isCanonical")?;
    cel::add_overload!(env, fn ip_string: (Ip) -> CelString, name = "string")?;
    cel::add_member_overload!(env, fn family: (Ip) -> CelInt)?;
    cel::add_member_overload!(env, fn is_unspecified: (Ip) -> CelBool)?;
    cel::add_member_overload!(env, fn is_loopback: (Ip) -> CelBool)?;
    cel::add_member_overload!(env, fn is_link_local_multicast: (Ip) -> CelBool)?;
    cel::add_member_overload!(env, fn is_link_local_unicast: (Ip) -> CelBool)?;
    cel::add_member_overload!(env, fn is_global_unicast: (Ip) -> CelBool)?;
    cel::add_overload!(env, fn cidr: (CelString) -> Result<Cidr>)?;
    cel::add_overload!(env, fn is_cidr: (CelString) -> CelBool, name = "isCIDR")?;
    cel::add_overload!(env, fn cidr_string: (Cidr) -> CelString, name = "string")?;
    cel::add_member_overload!(env, fn contains_ip: (Cidr, Ip) -> CelBool, name = "containsIP")?;
    cel::add_member_overload!(env, fn contains_ip_text: (Cidr, CelString) -> Result<CelBool>, name = "containsIP")?;
    cel::add_member_overload!(env, fn contains_cidr: (Cidr, Cidr) -> CelBool, name = "containsCIDR")?;
    cel::add_member_overload!(env, fn contains_cidr_text: (Cidr, CelString) -> Result<CelBool>, name = "containsCIDR")?;
    cel::add_member_overload!(env, fn address: (Cidr) -> Ip, name = "ip")?;
    cel::add_member_overload!(env, fn masked: (Cidr) -> Cidr)?;
    cel::add_member_overload!(env, fn prefix_length: (Cidr) -> CelInt)
}

/// As Kubernetes: no zone, no IPv4 address in IPv6 form, no leading zeros.
fn parse_ip(text: &str) -> Option<Ip> {
    let address: IpAddr = text.parse().ok()?;
    match address {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => None,
        _ => Some(Ip(address)),
    }
}

fn parse_cidr(text: &str) -> Option<Cidr> {
    let (address, length) = text.split_once('/')?;
    let Ip(address) = parse_ip(address)?;
    let plain =
        !length.is_empty() && length.chars().all(|c| c.is_ascii_digit()) && (length == "0" || !length.starts_with('0'));
    let length: u8 = plain.then(|| length.parse().ok()).flatten()?;
    (length <= width(address)).then_some(Cidr { address, length })
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address with everything behind the prefix cleared.
fn mask(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let bits = u32::MAX.checked_shl(u32::from(32 - length.min(32))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(v4) & bits))
        }
        IpAddr::V6(v6) => {
            let bits = u128::MAX.checked_shl(u32::from(128 - length.min(128))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(v6) & bits))
        }
    }
}

fn holds(net: Cidr, address: IpAddr) -> bool {
    net.address.is_ipv4() == address.is_ipv4() && mask(net.address, net.length) == mask(address, net.length)
}

fn ip(text: &CelString<'_>) -> Result<Ip, ExecutionError> {
    parse_ip(text.inner()).ok_or_else(|| ExecutionError::function_error("ip", "the text is no IP address"))
}

fn is_ip(text: &CelString<'_>) -> CelBool {
    CelBool::from(parse_ip(text.inner()).is_some())
}

fn is_canonical(text: &CelString<'_>) -> Result<CelBool, ExecutionError> {
    let Ip(address) = ip(text)?;
    Ok(CelBool::from(address.to_string() == text.inner()))
}

fn ip_string(ip: &Ip) -> CelString<'static> {
    CelString::from(ip.0.to_string())
}

fn family(ip: &Ip) -> CelInt {
    CelInt::from(if ip.0.is_ipv4() { 4 } else { 6 })
}

fn is_unspecified(ip: &Ip) -> CelBool {
    CelBool::from(ip.0.is_unspecified())
}

fn is_loopback(ip: &Ip) -> CelBool {
    CelBool::from(ip.0.is_loopback())
}

fn link_local_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn is_link_local_multicast(ip: &Ip) -> CelBool {
    CelBool::from(match ip.0 {
        IpAddr::V4(v4) => v4.octets().starts_with(&[224, 0, 0]),
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    })
}

fn is_link_local_unicast(ip: &Ip) -> CelBool {
    CelBool::from(link_local_unicast(ip.0))
}

/// Go's `netip.Addr.IsGlobalUnicast`: private addresses count.
fn is_global_unicast(ip: &Ip) -> CelBool {
    let broadcast = ip.0 == IpAddr::V4(Ipv4Addr::BROADCAST);
    let special = ip.0.is_unspecified() || ip.0.is_loopback() || ip.0.is_multicast() || link_local_unicast(ip.0);
    CelBool::from(!broadcast && !special)
}

fn cidr(text: &CelString<'_>) -> Result<Cidr, ExecutionError> {
    parse_cidr(text.inner()).ok_or_else(|| ExecutionError::function_error("cidr", "the text is no CIDR"))
}

fn is_cidr(text: &CelString<'_>) -> CelBool {
    CelBool::from(parse_cidr(text.inner()).is_some())
}

fn cidr_string(net: &Cidr) -> CelString<'static> {
    CelString::from(format!("{}/{}", net.address, net.length))
}

fn contains_ip(net: &Cidr, ip: &Ip) -> CelBool {
    CelBool::from(holds(*net, ip.0))
}

fn contains_ip_text(net: &Cidr, text: &CelString<'_>) -> Result<CelBool, ExecutionError> {
    ip(text).map(|ip| contains_ip(net, &ip))
}

fn contains_cidr(net: &Cidr, other: &Cidr) -> CelBool {
    CelBool::from(other.length >= net.length && holds(*net, other.address))
}

fn contains_cidr_text(net: &Cidr, text: &CelString<'_>) -> Result<CelBool, ExecutionError> {
    cidr(text).map(|other| contains_cidr(net, &other))
}

fn address(net: &Cidr) -> Ip {
    Ip(net.address)
}

fn masked(net: &Cidr) -> Cidr {
    Cidr { address: mask(net.address, net.length), length: net.length }
}

fn prefix_length(net: &Cidr) -> CelInt {
    CelInt::from(i64::from(net.length))
}
