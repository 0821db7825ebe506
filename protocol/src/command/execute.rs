//! COM_STMT_EXECUTE: taken apart, and built again for another connection.
//!
//! A client binds the parameters' types with the first execution only; a server that has never seen them misreads the
//! values. So whoever executes on a new connection inserts the remembered types (MaxScale's MXS-2521). Values are
//! never read here.

use thiserror::Error;

use super::attributes::{Attribute, Attributes, is_null, null_bitmap, skip_value};
use super::byte;
use crate::{Capabilities, Malformed, Reader, WireAppend};

/// Flag: the number of parameters stands in the packet.
const PARAMETER_COUNT_AVAILABLE: u8 = 0x08;

/// Parameters a statement can have.
const MAX_PARAMETERS: u64 = 65_535;

/// Types as they stand in a packet, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypesView<'a> {
    count: u16,
    layout: Layout,
    raw: &'a [u8],
}

/// The types of all parameters as the client bound them, to be remembered for other connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundTypes {
    count: u16,
    layout: Layout,
    raw: Box<[u8]>,
}

/// Whether a name follows each type: so it is where attributes were agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    Plain,
    Named,
}

impl TypesView<'_> {
    /// The first `count` alone: attributes, which stand behind the parameters, are sent with their types each time.
    #[must_use]
    pub fn first(self, count: u16) -> Self {
        let mut reader = Reader::new(self.raw);
        let kept = (0..count).try_fold(0, |_, _| {
            self.next_type(&mut reader)?;
            Ok::<_, Malformed>(self.raw.len() - reader.remaining())
        });
        let raw = kept.ok().and_then(|end| self.raw.get(..end));
        raw.map_or(self, |raw| Self { count, layout: self.layout, raw })
    }

    /// A copy that outlives the packet.
    #[must_use]
    pub fn to_bound(&self) -> BoundTypes {
        BoundTypes { count: self.count, layout: self.layout, raw: self.raw.into() }
    }

    /// The type at the reader, and moves behind its name if there is one.
    fn next_type(&self, reader: &mut Reader<'_>) -> Result<u16, Malformed> {
        let kind = reader.u16()?;
        match self.layout {
            Layout::Named => reader.lenenc_bytes().map(|_| kind),
            Layout::Plain => Ok(kind),
        }
    }

    fn write(&self, out: &mut Vec<u8>, target: Layout) -> Result<(), Malformed> {
        if self.layout == target {
            out.push_bytes(self.raw);
            return Ok(());
        }
        let mut reader = Reader::new(self.raw);
        for _ in 0..self.count {
            out.push_bytes(reader.take(2)?);
            match self.layout {
                Layout::Named => {
                    reader.lenenc_bytes()?;
                }
                Layout::Plain => out.push_u8(0),
            }
        }
        Ok(())
    }
}

impl BoundTypes {
    /// How many parameters they are for.
    #[must_use]
    pub const fn count(&self) -> u16 {
        self.count
    }

    /// Bytes they take, for the limits of whoever keeps them.
    #[must_use]
    pub fn footprint(&self) -> usize {
        self.raw.len()
    }

    /// The same as they would stand in a packet.
    #[must_use]
    pub fn view(&self) -> TypesView<'_> {
        TypesView { count: self.count, layout: self.layout, raw: &self.raw }
    }
}

/// Why an execution cannot be built again. Without a fault of the client only [`ExecuteError::TypesUnknown`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ExecuteError {
    /// The client's packet has not its form.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The client relies on types bound before, and none are remembered for this number of parameters.
    #[error("the types of {0} parameters were never bound")]
    TypesUnknown(u16),
    /// The target takes no attributes and the client sent some together with parameters.
    #[error("attributes of an execution cannot be taken out")]
    Attributes,
}

/// A COM_STMT_EXECUTE taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecuteView<'a> {
    /// The statement, as its sender numbers it.
    pub statement: u32,
    /// Cursor type and whether the number of parameters is in the packet.
    pub flags: u8,
    /// Always 1; kept as sent.
    pub iterations: u32,
    /// Parameters the statement has.
    pub placeholders: u16,
    /// Parameters that are sent: placeholders, then attributes.
    pub parameters: u16,
    /// One bit for each parameter that is NULL.
    pub nulls: &'a [u8],
    /// Types that come with this execution.
    pub types: Option<TypesView<'a>>,
    /// Where the values begin in the payload; everything from there on is the same on every connection.
    pub values_at: usize,
}

/// The beginning of an execution, built again; the original payload from `values_at` on belongs behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuiltHead {
    /// Everything before the values.
    pub head: Vec<u8>,
    /// Where the values begin in the original payload.
    pub values_at: usize,
}

impl<'a> ExecuteView<'a> {
    /// Takes a payload (command byte included) apart. `placeholders` is the number of parameters
    /// that the server said at COM_STMT_PREPARE, `caps`
    /// are those agreed with the sender. The beginning of a long payload is enough if it reaches the values.
    ///
    /// # Errors
    /// [`Malformed`] if a field is missing or there are fewer parameters than the statement has.
    pub fn parse(payload: &'a [u8], placeholders: u16, caps: Capabilities) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        if reader.u8()? != byte::STMT_EXECUTE {
            return Err(Malformed::Invalid("command"));
        }
        let (statement, flags, iterations) = (reader.u32()?, reader.u8()?, reader.u32()?);
        let named = caps.contains(Capabilities::QUERY_ATTRIBUTES);
        let mut count = placeholders;
        if named && (placeholders > 0 || flags & PARAMETER_COUNT_AVAILABLE != 0) {
            let given = reader.lenenc_int()?;
            if given > MAX_PARAMETERS || given < u64::from(placeholders) {
                return Err(Malformed::Invalid("number of parameters"));
            }
            count = u16::try_from(given).unwrap_or(u16::MAX);
        }
        let mut view = Self {
            statement,
            flags,
            iterations,
            placeholders,
            parameters: count,
            nulls: &[],
            types: None,
            values_at: payload.len() - reader.remaining(),
        };
        if count > 0 {
            view.nulls = reader.take(usize::from(count).div_ceil(8))?;
            if reader.u8()? != 0 {
                view.types = Some(parse_types(&mut reader, count, named)?);
            }
            view.values_at = payload.len() - reader.remaining();
        }
        Ok(view)
    }

    /// Whether the client asks for a cursor: rows then come by COM_STMT_FETCH from this very connection.
    #[must_use]
    pub const fn wants_cursor(&self) -> bool {
        self.flags & !PARAMETER_COUNT_AVAILABLE != 0
    }

    /// Builds the packet's beginning for another connection: `statement` is the id there, `target` the capabilities
    /// agreed there, `remembered` the types the client bound with an earlier execution, used if this one has none.
    ///
    /// # Errors
    /// [`ExecuteError::TypesUnknown`] if types are needed and not there; [`ExecuteError::Attributes`] if the target
    /// cannot take the attributes.
    pub fn rebuild(
        &self,
        statement: u32,
        remembered: Option<&BoundTypes>,
        target: Capabilities,
    ) -> Result<RebuiltHead, ExecuteError> {
        let named = target.contains(Capabilities::QUERY_ATTRIBUTES);
        if !named && self.parameters > self.placeholders {
            return Err(ExecuteError::Attributes);
        }
        let mut head = Vec::with_capacity(16 + self.nulls.len() + 2 * usize::from(self.parameters));
        head.push_u8(byte::STMT_EXECUTE);
        head.push_u32(statement);
        let counted = if named { PARAMETER_COUNT_AVAILABLE } else { 0 };
        head.push_u8(self.flags & !PARAMETER_COUNT_AVAILABLE | counted);
        head.push_u32(self.iterations);
        if named {
            head.push_lenenc_int(u64::from(self.parameters));
        }
        if self.parameters > 0 {
            head.push_bytes(self.nulls);
            let types = self.types.or(remembered.map(BoundTypes::view));
            let types = types.filter(|types| types.count == self.parameters);
            let Some(types) = types else { return Err(ExecuteError::TypesUnknown(self.parameters)) };
            head.push_u8(1);
            types.write(&mut head, if named { Layout::Named } else { Layout::Plain })?;
        }
        Ok(RebuiltHead { head, values_at: self.values_at })
    }
}

impl<'a> ExecuteView<'a> {
    /// The attributes of this execution. `payload` is the one that was parsed. None are found where they can't be told
    /// from the parameters: without types, or where long data was sent, whose parameters have no value in the packet.
    ///
    /// # Errors
    /// [`Malformed`] if a value is cut off.
    pub fn attributes(&self, payload: &'a [u8]) -> Result<Attributes<'a>, Malformed> {
        self.split(payload).map(|(_, _, attributes)| attributes)
    }

    /// The payload without the attributes that `drop` picks.
    ///
    /// # Errors
    /// [`Malformed`] if a value is cut off.
    pub fn without(
        &self,
        payload: &'a [u8],
        drop: impl Fn(&Attribute<'a>) -> bool,
    ) -> Result<Vec<u8>, Malformed> {
        let (types, values, attributes) = self.split(payload)?;
        let kept: Vec<_> = attributes.iter().filter(|attribute| !drop(attribute)).collect();
        if kept.len() == usize::from(attributes.len()) {
            return Ok(payload.to_vec());
        }
        let mut out = Vec::with_capacity(payload.len());
        out.push_u8(byte::STMT_EXECUTE);
        out.push_u32(self.statement);
        out.push_u8(self.flags);
        out.push_u32(self.iterations);
        let placeholders = usize::from(self.placeholders);
        out.push_lenenc_int((placeholders + kept.len()) as u64);
        if placeholders + kept.len() > 0 {
            let nulls: Vec<bool> = (0..placeholders)
                .map(|index| is_null(self.nulls, index))
                .chain(kept.iter().map(Attribute::is_null))
                .collect();
            out.push_bytes(&null_bitmap(nulls.into_iter()));
            out.push_u8(1);
            out.push_bytes(types);
            for attribute in &kept {
                attribute.push_type(&mut out);
            }
        }
        out.push_bytes(values);
        for attribute in &kept {
            attribute.push_value(&mut out);
        }
        Ok(out)
    }

    /// Types and values of the parameters, and the attributes behind them.
    fn split(&self, payload: &'a [u8]) -> Result<(&'a [u8], &'a [u8], Attributes<'a>), Malformed> {
        let values = payload.get(self.values_at..).unwrap_or_default();
        let Some(types) = self.types.filter(|types| types.layout == Layout::Named) else {
            return Ok((&[], values, Attributes::default()));
        };
        let (mut kinds, mut reader) = (Reader::new(types.raw), Reader::new(values));
        for index in 0..usize::from(self.placeholders) {
            let kind = types.next_type(&mut kinds)?;
            if !is_null(self.nulls, index) {
                skip_value(&mut reader, kind)?;
            }
        }
        let of_parameters = types.raw.len() - kinds.remaining();
        let end = values.len() - reader.remaining();
        let (count, skipped) = (self.parameters - self.placeholders, usize::from(self.placeholders));
        let attributes = Attributes::read(count, skipped, self.nulls, &mut kinds, &mut reader)?;
        let part = |all: &'a [u8], end| all.get(..end).unwrap_or_default();
        Ok((part(types.raw, of_parameters), part(values, end), attributes))
    }
}

/// Exchanges the statement's id in a payload that otherwise stays as it is (types known on that connection).
///
/// # Errors
/// [`Malformed`] if the payload is no COM_STMT_* that begins with an id.
pub fn replace_statement(payload: &mut [u8], statement: u32) -> Result<(), Malformed> {
    match payload {
        [byte::STMT_EXECUTE..=byte::STMT_RESET | 0x1c, a, b, c, d, ..] => {
            [*a, *b, *c, *d] = statement.to_le_bytes();
            Ok(())
        }
        _ => Err(Malformed::Invalid("command")),
    }
}

fn parse_types<'a>(reader: &mut Reader<'a>, count: u16, named: bool) -> Result<TypesView<'a>, Malformed> {
    let start = *reader;
    for _ in 0..count {
        reader.take(2)?;
        if named {
            reader.lenenc_bytes()?;
        }
    }
    let mut whole = start;
    let raw = whole.take(start.remaining() - reader.remaining())?;
    let layout = if named { Layout::Named } else { Layout::Plain };
    Ok(TypesView { count, layout, raw })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step fails the test")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: Capabilities = Capabilities::PROTOCOL_41;
    const NAMED: Capabilities = Capabilities::QUERY_ATTRIBUTES;

    fn execution(caps: Capabilities, kinds: Option<&[u16]>, count: usize, values: &[u8]) -> Vec<u8> {
        let named = caps.contains(NAMED);
        let mut out = vec![0x17, 9, 0, 0, 0, if named { 8 } else { 0 }, 1, 0, 0, 0];
        if named {
            out.push_lenenc_int(count as u64);
        }
        if count > 0 {
            out.push_zeros(count.div_ceil(8));
            out.push_u8(u8::from(kinds.is_some()));
            for kind in kinds.unwrap_or_default() {
                out.push_u16(*kind);
                if named {
                    out.push_lenenc_bytes(b"");
                }
            }
        }
        out.push_bytes(values);
        out
    }

    #[test]
    fn an_execution_without_types_gets_the_remembered_ones() {
        let first = execution(PLAIN, Some(&[8, 253]), 2, b"first values");
        let second = execution(PLAIN, None, 2, b"second values");
        let first = ExecuteView::parse(&first, 2, PLAIN).unwrap();
        let types = first.types.unwrap().first(2).to_bound();
        assert_eq!((types.count(), types.footprint()), (2, 4));
        let view = ExecuteView::parse(&second, 2, PLAIN).unwrap();
        assert_eq!(view.rebuild(5, None, PLAIN), Err(ExecuteError::TypesUnknown(2)));
        let rebuilt = view.rebuild(5, Some(&types), PLAIN).unwrap();
        let mut expected = execution(PLAIN, Some(&[8, 253]), 2, b"second values");
        replace_statement(&mut expected, 5).unwrap();
        assert_eq!([&rebuilt.head[..], &second[rebuilt.values_at..]].concat(), expected);
        let fewer = BoundTypes { count: 1, layout: Layout::Plain, raw: [8, 0].into() };
        assert_eq!(view.rebuild(5, Some(&fewer), PLAIN), Err(ExecuteError::TypesUnknown(2)));
    }

    #[test]
    fn more_parameters_than_placeholders_are_attributes() {
        let payload = execution(NAMED, Some(&[8, 254]), 2, b"values");
        let view = ExecuteView::parse(&payload, 1, NAMED).unwrap();
        assert_eq!(view.parameters, 2);
        assert_eq!(view.rebuild(1, None, PLAIN), Err(ExecuteError::Attributes));
        assert!(view.rebuild(1, None, NAMED).is_ok());
        assert!(ExecuteView::parse(&payload, 3, NAMED).is_err());
    }

    #[test]
    fn attributes_are_read_behind_the_parameters_and_taken_out() {
        let mut payload = vec![0x17, 9, 0, 0, 0, 8, 1, 0, 0, 0, 4, 0b0100, 1];
        for (kind, name) in [(8u16, ""), (253, "trace"), (254, "nothing"), (253, "own")] {
            payload.push_u16(kind);
            payload.push_lenenc_bytes(name.as_bytes());
        }
        payload.push_u64(7);
        payload.push_lenenc_bytes(b"00-1");
        payload.push_lenenc_bytes(b"primary");
        let view = ExecuteView::parse(&payload, 1, NAMED).unwrap();
        let names: Vec<_> = view.attributes(&payload).unwrap().iter().map(|a| a.name).collect();
        assert_eq!(names, [&b"trace"[..], b"nothing", b"own"]);
        assert_eq!(view.without(&payload, |_| false).unwrap(), payload);
        let without = view.without(&payload, |attribute| attribute.name == b"own").unwrap();
        let again = ExecuteView::parse(&without, 1, NAMED).unwrap();
        let kept: Vec<_> = again.attributes(&without).unwrap().iter().collect();
        assert_eq!((kept[0].text().as_deref(), kept[1].text()), (Some(&b"00-1"[..]), None));
        let none = again.without(&without, |_| true).unwrap();
        let none = ExecuteView::parse(&none, 1, NAMED).unwrap();
        assert_eq!((none.parameters, none.nulls), (1, &[0][..]));
        assert!(none.rebuild(1, None, PLAIN).is_ok());
        assert_eq!(view.types.unwrap().first(1).to_bound().count(), 1);
        let cut = &payload[..payload.len() - 1];
        assert!(ExecuteView::parse(cut, 1, NAMED).unwrap().attributes(cut).is_err());
    }

    #[test]
    fn cursors_are_seen_and_other_commands_refused() {
        let mut payload = execution(PLAIN, None, 0, b"");
        assert!(!ExecuteView::parse(&payload, 0, PLAIN).unwrap().wants_cursor());
        payload[5] = 1;
        assert!(ExecuteView::parse(&payload, 0, PLAIN).unwrap().wants_cursor());
        assert!(ExecuteView::parse(b"\x16SELECT 1", 0, PLAIN).is_err());
        assert!(replace_statement(&mut [0x03, 0, 0, 0, 0], 1).is_err());
        assert!(replace_statement(&mut [0x17, 0, 0, 0], 1).is_err());
    }

    proptest! {
        #[test]
        fn rebuilding_for_the_same_capabilities_changes_only_the_id(
            kinds in proptest::collection::vec(any::<u16>(), 0..40), values: Vec<u8>, named: bool,
        ) {
            let caps = if named { NAMED } else { PLAIN };
            let count = u16::try_from(kinds.len()).unwrap();
            let mut payload = execution(caps, Some(&kinds), kinds.len(), &values);
            let view = ExecuteView::parse(&payload, count, caps).unwrap();
            let rebuilt = view.rebuild(77, None, caps).unwrap();
            let whole = [&rebuilt.head[..], &payload[rebuilt.values_at..]].concat();
            replace_statement(&mut payload, 77).unwrap();
            prop_assert_eq!(&whole, &payload);
            let other = if named { PLAIN } else { NAMED };
            let there = ExecuteView::parse(&whole, count, caps).unwrap().rebuild(9, None, other).unwrap();
            let there = [&there.head[..], &whole[there.values_at..]].concat();
            let expected = execution(other, Some(&kinds), kinds.len(), &values);
            prop_assert_eq!(there, expected);
        }
    }
}
