//! What a function given to [`super::Metrics::at_scrape`] writes on.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Takes metrics with their values. Names are those of Prometheus: `cb_` and a
/// unit at the end; the `_total` of counters is added.
pub struct Sheet<'a>(DescriptorEncoder<'a>);

impl Sheet<'_> {
    /// A value that goes up and down.
    ///
    /// # Errors
    /// None: it writes to memory.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.one(name, help, &ConstGauge::new(value))
    }

    /// One such value for each of several combinations of labels.
    ///
    /// # Errors
    /// As [`Sheet::gauge`].
    pub fn gauges<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; N],
        rows: impl IntoIterator<Item = ([String; N], f64)>,
    ) -> fmt::Result {
        let kind = MetricType::Gauge;
        self.family((name, help, kind), labels, rows, ConstGauge::new)
    }

    /// A number that only grows while the operator runs.
    ///
    /// # Errors
    /// As [`Sheet::gauge`].
    pub fn counter(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.one(name, help, &ConstCounter::new(value))
    }

    /// One such number for each of several combinations of labels.
    ///
    /// # Errors
    /// As [`Sheet::gauge`].
    pub fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; N],
        rows: impl IntoIterator<Item = ([String; N], f64)>,
    ) -> fmt::Result {
        let kind = MetricType::Counter;
        self.family((name, help, kind), labels, rows, ConstCounter::new)
    }

    fn one(&mut self, name: &str, help: &str, metric: &impl EncodeMetric) -> fmt::Result {
        let kind = metric.metric_type();
        metric.encode(self.0.encode_descriptor(name, help, None, kind)?)
    }

    fn family<M: EncodeMetric, const N: usize>(
        &mut self,
        (name, help, kind): (&str, &str, MetricType),
        labels: [&str; N],
        rows: impl IntoIterator<Item = ([String; N], f64)>,
        metric: impl Fn(f64) -> M,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, kind)?;
        for (values, value) in rows {
            let names = labels.into_iter().map(str::to_owned);
            let labels: Vec<(String, String)> = names.zip(values).collect();
            metric(value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// A function that looks when somebody asks.
pub(super) struct AtScrape<F>(pub(super) F);

impl<F> fmt::Debug for AtScrape<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AtScrape")
    }
}

impl<F> Collector for AtScrape<F>
where
    F: Fn(&mut Sheet<'_>) -> fmt::Result + Send + Sync + 'static,
{
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        (self.0)(&mut Sheet(encoder))
    }
}
