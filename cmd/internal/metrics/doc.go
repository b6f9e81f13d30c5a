// Package metrics tells what a target counts to Prometheus: [New] is a collector
// over target.Stats, and [Listen] serves it over HTTP.
//
// Names follow https://prometheus.io/docs/practices/naming/: counters end in
// _total, sizes are bytes. A disk is labelled with its address, a link with the
// name of its interface. Frames and requests that came to nothing carry their
// reason as a label, so that one alert covers all of them.
package metrics
