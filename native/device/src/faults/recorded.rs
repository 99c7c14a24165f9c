//! Faults of a device, as they are recorded.

use crate::faults::rule::About;
use crate::faults::table::Hit;
use crate::interrupt::Interrupt;
use crate::trace_event::{EventKind, TraceEvent};

impl Interrupt {
    /// Offer an event to one fault, which makes its events itself, and record it.
    #[must_use]
    pub fn offer_fault(&self, id: u32) -> Option<Hit> {
        let hit = self.faults().offer(id)?;
        self.record_hit(&hit, &About::default(), None);
        Some(hit)
    }

    /// Ask for a fault of one of some kinds (their bits), and record it with a text, if it has one.
    #[must_use]
    pub fn take_fault(
        &self,
        kinds: u64,
        about: &About,
        describe: impl FnOnce(&Hit) -> Option<String>,
    ) -> Option<Hit> {
        let hit = self.faults().take(kinds, about)?;
        self.record_hit(&hit, about, describe(&hit).as_deref());
        Some(hit)
    }

    fn record_hit(&self, hit: &Hit, about: &About, text: Option<&str>) {
        let event = TraceEvent {
            detail: hit.kind as u8,
            queue: about.queue,
            token: about.token,
            value: hit.id.into(),
            extra: hit.index,
            ..TraceEvent::new(EventKind::Injected)
        };
        let Some(text) = text else {
            self.record(event);
            return;
        };
        self.faults().tell(hit.id, text);
        if let Some(recorder) = self.recorder() {
            recorder.record_note(event, text);
        }
    }
}
