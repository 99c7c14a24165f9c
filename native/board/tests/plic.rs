//! The PLIC against a plain model: one record for each source, and every rule written out.

use proptest::prelude::*;
use virtmesh_board::plic::{CONTEXTS, PRIORITY_MAX, SOURCE_MAX};
use virtmesh_board::{Plic, Rule};

const PENDING: u64 = 0x1000;
const ENABLE: u64 = 0x2000;
const THRESHOLD: u64 = 0x20_0000;
const CLAIM: u64 = 0x20_0004;

#[derive(Debug, Clone, Copy)]
enum Step {
    Level(usize, bool, bool),
    Priority(usize, u32),
    Enable(usize, usize, bool),
    Threshold(usize, u32),
    Claim(usize),
    Complete(usize, usize),
}

#[derive(Debug, Clone, Copy, Default)]
struct Source {
    up: bool,
    pending: bool,
    claimed: bool,
    priority: u32,
    enabled: [bool; CONTEXTS],
}

struct Model {
    rule: Rule,
    sources: Vec<Source>,
    threshold: [u32; CONTEXTS],
}

impl Model {
    fn new(rule: Rule) -> Self {
        Self {
            rule,
            sources: vec![Source::default(); SOURCE_MAX + 1],
            threshold: [0; CONTEXTS],
        }
    }

    fn set_level(&mut self, number: usize, up: bool, again: bool) {
        let rule = self.rule;
        let source = &mut self.sources[number];
        let rose = up && !source.up;
        source.up = up;
        match rule {
            Rule::Spec if up && !source.claimed => source.pending = true,
            Rule::Qemu if rose || (up && again) => source.pending = true,
            _ => {}
        }
    }

    /// Sort all candidates, and take the first.
    fn best(&self, context: usize, above: u32) -> usize {
        let mut candidates: Vec<_> = (1..=SOURCE_MAX)
            .filter(|&number| {
                let source = self.sources[number];
                let held = self.rule == Rule::Qemu && source.claimed;
                source.pending && source.enabled[context] && source.priority > above && !held
            })
            .collect();
        candidates.sort_by_key(|&number| (u32::MAX - self.sources[number].priority, number));
        candidates.first().copied().unwrap_or(0)
    }

    fn asserted(&self, context: usize) -> bool {
        self.best(context, self.threshold[context]) != 0
    }

    fn claim(&mut self, context: usize) -> usize {
        let above = match self.rule {
            Rule::Spec => 0,
            Rule::Qemu => self.threshold[context],
        };
        let number = self.best(context, above);
        if number != 0 {
            self.sources[number].pending = false;
            self.sources[number].claimed = true;
        }
        number
    }

    fn complete(&mut self, context: usize, number: usize) {
        if number == 0 || number > SOURCE_MAX {
            return;
        }
        let rule = self.rule;
        let source = &mut self.sources[number];
        match rule {
            Rule::Spec if !source.enabled[context] => {}
            Rule::Spec => {
                source.claimed = false;
                source.pending |= source.up;
            }
            Rule::Qemu => source.claimed = false,
        }
    }

    fn pending_word(&self, word: usize) -> u32 {
        (0..32).fold(0, |bits, bit| {
            bits | u32::from(self.sources[32 * word + bit].pending) << bit
        })
    }

    fn enable_word(&self, context: usize, word: usize) -> u32 {
        (0..32).fold(0, |bits, bit| {
            bits | u32::from(self.sources[32 * word + bit].enabled[context]) << bit
        })
    }
}

/// Sources that meet often, with the last one and the border of a word among them.
fn source() -> impl Strategy<Value = usize> {
    prop::sample::select(vec![1, 2, 3, 10, 31, 32, SOURCE_MAX])
}

fn step() -> impl Strategy<Value = Step> {
    let context = 0..CONTEXTS;
    let number =
        prop_oneof![9 => source(), 1 => prop::sample::select(vec![0, SOURCE_MAX + 1, 5000])];
    prop_oneof![
        (source(), any::<bool>(), any::<bool>())
            .prop_map(|(s, up, again)| Step::Level(s, up, again)),
        (source(), 0..10_u32).prop_map(|(s, priority)| Step::Priority(s, priority)),
        (context.clone(), source(), prop::bool::weighted(0.8))
            .prop_map(|(c, s, on)| Step::Enable(c, s, on)),
        (context.clone(), 0..4_u32).prop_map(|(c, threshold)| Step::Threshold(c, threshold)),
        context.clone().prop_map(Step::Claim),
        (context, number).prop_map(|(c, s)| Step::Complete(c, s)),
    ]
}

fn register(base: u64, stride: u64, index: usize) -> u64 {
    base + stride * index as u64
}

fn apply(plic: &mut Plic, model: &mut Model, step: Step) {
    let mask = u32::from(PRIORITY_MAX);
    match step {
        Step::Level(source, up, again) => {
            plic.set_level(source, up, again);
            model.set_level(source, up, again);
        }
        Step::Priority(source, priority) => {
            plic.write(register(0, 4, source), 4, priority).unwrap();
            model.sources[source].priority = priority & mask;
        }
        Step::Enable(context, source, on) => {
            model.sources[source].enabled[context] = on;
            let offset = register(ENABLE, 0x80, context) + 4 * (source as u64 / 32);
            let word = model.enable_word(context, source / 32);
            plic.write(offset, 4, word).unwrap();
            assert_eq!(plic.read(offset, 4), Ok(word));
        }
        Step::Threshold(context, threshold) => {
            let offset = register(THRESHOLD, 0x1000, context);
            plic.write(offset, 4, threshold).unwrap();
            model.threshold[context] = threshold & mask;
        }
        Step::Claim(context) => {
            let claimed = plic.read(register(CLAIM, 0x1000, context), 4).unwrap();
            assert_eq!(claimed as usize, model.claim(context));
        }
        Step::Complete(context, source) => {
            let offset = register(CLAIM, 0x1000, context);
            plic.write(offset, 4, u32::try_from(source).unwrap())
                .unwrap();
            model.complete(context, source);
        }
    }
}

proptest! {
    #[test]
    fn it_does_what_the_model_does(
        rule in prop::sample::select(vec![Rule::Spec, Rule::Qemu]),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let (mut plic, mut model) = (Plic::new(rule), Model::new(rule));
        for step in steps {
            apply(&mut plic, &mut model, step);
            for context in 0..CONTEXTS {
                prop_assert_eq!(plic.asserted(context), model.asserted(context));
            }
            for word in 0..4 {
                let pending = plic.read(register(PENDING, 4, word), 4);
                prop_assert_eq!(pending, Ok(model.pending_word(word)));
            }
        }
    }

    #[test]
    fn no_access_panics(offset in 0..0x70_0000_u64, width in 0..9_u8, value: u32) {
        let mut plic = Plic::new(Rule::Spec);
        let aligned = width == 4 && offset.is_multiple_of(4) && offset < 0x60_0000;
        prop_assert_eq!(plic.read(offset, width).is_ok(), aligned);
        prop_assert_eq!(plic.write(offset, width, value).is_ok(), aligned);
    }
}

/// A controller in which source 10 has priority 1 and is enabled for context 1.
fn with_source_10(rule: Rule) -> Plic {
    let mut plic = Plic::new(rule);
    plic.write(40, 4, 1).unwrap();
    plic.write(ENABLE + 0x80, 4, 1 << 10).unwrap();
    plic.set_level(10, true, false);
    plic
}

fn claim(plic: &mut Plic) -> u32 {
    plic.read(CLAIM + 0x1000, 4).unwrap()
}

fn complete(plic: &mut Plic) {
    plic.write(CLAIM + 0x1000, 4, 10).unwrap();
}

#[test]
fn spec_a_line_that_stays_up_interrupts_again_after_completion() {
    let mut plic = with_source_10(Rule::Spec);
    assert_eq!(claim(&mut plic), 10);
    assert!(!plic.asserted(1));
    complete(&mut plic);
    assert!(plic.asserted(1));
}

#[test]
fn qemu_a_line_that_stays_up_does_not_interrupt_again() {
    let mut plic = with_source_10(Rule::Qemu);
    assert_eq!(claim(&mut plic), 10);
    complete(&mut plic);
    assert!(!plic.asserted(1));
}

#[test]
fn qemu_a_line_that_rises_again_while_it_is_claimed_interrupts_after_completion() {
    let mut plic = with_source_10(Rule::Qemu);
    assert_eq!(claim(&mut plic), 10);
    plic.set_level(10, false, false);
    plic.set_level(10, true, false);
    assert!(!plic.asserted(1));
    complete(&mut plic);
    assert_eq!(claim(&mut plic), 10);
}

#[test]
fn spec_a_completion_by_a_context_without_the_source_is_ignored() {
    let mut plic = with_source_10(Rule::Spec);
    assert_eq!(claim(&mut plic), 10);
    plic.write(CLAIM, 4, 10).unwrap();
    assert!(!plic.asserted(1));
    complete(&mut plic);
    assert!(plic.asserted(1));
}

#[test]
fn a_reset_keeps_the_lines_of_the_devices() {
    let mut plic = with_source_10(Rule::Spec);
    plic.reset();
    assert!(!plic.asserted(1));
    assert_eq!(plic.read(PENDING, 4), Ok(1 << 10));
}
