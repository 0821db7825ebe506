//! What a client asks of Sluice for one statement, in query attributes of the namespace `sluice.`, which are taken out
//! before the statement goes on. Other attributes are relayed to servers that take them.
//!
//! Never here: where a statement goes (a wish is weighed by `sluice_routing`), hints in comments (the lexer reads them).

use std::time::Duration;

use sluice_protocol::command::{Attribute, ExecuteView, QueryView};
use sluice_protocol::{Capabilities, GtidSet, Malformed};
use sluice_routing::hint::Wish;
use sluice_routing::topology::InstanceId;

use super::Session;
use crate::backend::buffers::Lent;

/// How our own attributes begin.
const NAMESPACE: &[u8] = b"sluice.";
/// The longest GTID set that is read, in bytes; a token of one write has about fifty.
const MAX_GTIDS: usize = 4096;

/// What the attributes of the current statement ask for.
#[derive(Debug, Default)]
pub(super) struct Hints {
    /// `sluice.route`
    pub(super) wish: Wish,
    /// `sluice.wait_gtid`: what must have been executed where the statement reads.
    pub(super) wait_gtid: Option<GtidSet>,
    /// `sluice.timeout_ms`: how long the statement may wait for a server.
    pub(super) timeout: Option<Duration>,
    /// Whether any attribute was ours, so that the packet can't be sent on as it is.
    pub(super) taken: bool,
}

impl Hints {
    /// Reads our own attributes of a COM_QUERY.
    pub(super) fn take_from_query(&mut self, view: &QueryView<'_>) {
        if !view.attributes.is_empty() {
            view.attributes.iter().filter(is_own).for_each(|attribute| self.take(&attribute));
        }
    }

    /// Reads our own attributes of a COM_STMT_EXECUTE and returns it without them; `None` if there are none.
    pub(super) fn take_from_execute(
        &mut self,
        view: &ExecuteView<'_>,
        payload: &[u8],
        readable: bool,
    ) -> Result<Option<Vec<u8>>, Malformed> {
        if !readable || view.parameters == view.placeholders {
            return Ok(None);
        }
        view.attributes(payload)?.iter().filter(is_own).for_each(|attribute| self.take(&attribute));
        if !self.taken {
            return Ok(None);
        }
        view.without(payload, is_own).map(Some)
    }

    /// A value that is not understood asks for nothing: a statement is never refused for a hint.
    fn take(&mut self, attribute: &Attribute<'_>) {
        self.taken = true;
        let Some(value) = attribute.text() else { return };
        let name = attribute.name.get(NAMESPACE.len()..).unwrap_or_default();
        if name.eq_ignore_ascii_case(b"route") {
            self.wish = self.wish.max(Wish::from_value(&value).unwrap_or_default());
        } else if name.eq_ignore_ascii_case(b"wait_gtid") && value.len() <= MAX_GTIDS {
            self.wait_gtid = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
        } else if name.eq_ignore_ascii_case(b"timeout_ms") {
            let number = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
            self.timeout = number.map(Duration::from_millis);
        }
    }
}

fn is_own(attribute: &Attribute<'_>) -> bool {
    attribute
        .name
        .split_at_checked(NAMESPACE.len())
        .is_some_and(|(space, _)| space.eq_ignore_ascii_case(NAMESPACE))
}

/// Whether statements have the same form for both: attributes stand in them or don't.
pub(super) fn same_form(client: Capabilities, server: Capabilities) -> bool {
    client.contains(Capabilities::QUERY_ATTRIBUTES) == server.contains(Capabilities::QUERY_ATTRIBUTES)
}

/// A COM_STMT_EXECUTE without the attributes that `server` can't take; `None` if it is as it should be.
pub(super) fn execute_for(
    view: &ExecuteView<'_>,
    payload: &[u8],
    server: Capabilities,
    readable: bool,
) -> Result<Option<Vec<u8>>, Malformed> {
    let too_many = view.parameters > view.placeholders;
    if !readable || !too_many || server.contains(Capabilities::QUERY_ATTRIBUTES) {
        return Ok(None);
    }
    view.without(payload, |_| true).map(Some)
}

impl Session {
    /// The frames of a COM_QUERY for this connection; `None`: those that came.
    pub(super) fn query_frames(
        &mut self,
        instance: InstanceId,
        view: &QueryView<'_>,
        frames: Option<&[u8]>,
    ) -> Option<Lent> {
        let client = self.client_capabilities();
        let server = self.backends.get_mut(instance)?.connection.capabilities;
        if frames.is_some() && same_form(client, server) {
            return None;
        }
        Some(Lent::framed(&view.build(server, |attribute| !is_own(attribute))))
    }
}
