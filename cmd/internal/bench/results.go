package main

import (
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// key is one cell of the report: a mode with a peer.
type key struct{ mode, peer string }

// results are the samples of a run. A sample stands in the place of its round; rounds without one have Wall 0.
type results struct {
	plan
	began   time.Time
	samples map[key][]sample
	out     map[key]string // why a peer was left out of a mode
}

func newResults(p plan) *results {
	return &results{plan: p, began: time.Now(), samples: make(map[key][]sample), out: make(map[key]string)}
}

func (r *results) add(m mode, p peer, round int, s sample) {
	k := key{m.name, p.name}
	if r.samples[k] == nil {
		r.samples[k] = make([]sample, r.rounds)
	}
	r.samples[k][round] = s
}

func (r *results) leaveOut(m mode, p peer, err error) { r.out[key{m.name, p.name}] = err.Error() }

func (r *results) isOut(m mode, p peer) bool {
	_, out := r.out[key{m.name, p.name}]
	return out
}

// values are the figure's values, a round each; of rounds that have both, less those without a peer when it is an
// added time.
func (r *results) values(m mode, p peer, f figure) []float64 {
	var base func(round int) (sample, bool)
	if m.added && p.name != direct && isTime(f) {
		base = func(round int) (sample, bool) { return r.sample(key{m.name, direct}, round) }
	}
	return r.each(m, p, func(s sample, round int) (float64, bool) {
		v := f.of(s)
		if base == nil {
			return v, true
		}
		without, ok := base(round)
		return v - f.of(without), ok
	})
}

// isTime tells figures that are a time of an operation, from which what the backend takes can be subtracted.
func isTime(f figure) bool { return f.heading == p50.heading || f.heading == p99.heading }

// ratios are the main figure's ratios to the reference's, each within a round: what the machine does to both cancels out.
func (r *results) ratios(m mode, p peer) []float64 {
	of := make([]float64, r.rounds)
	for round := range r.rounds {
		if s, ok := r.sample(key{m.name, reference}, round); ok {
			of[round] = m.main.of(s)
		}
	}
	return r.each(m, p, func(s sample, round int) (float64, bool) { return m.main.of(s) / of[round], of[round] > 0 })
}

func (r *results) each(m mode, p peer, of func(sample, int) (float64, bool)) (all []float64) {
	for round := range r.samples[key{m.name, p.name}] {
		if s, ok := r.sample(key{m.name, p.name}, round); ok {
			if v, ok := of(s, round); ok {
				all = append(all, v)
			}
		}
	}
	return all
}

func (r *results) sample(k key, round int) (sample, bool) {
	all := r.samples[k]
	if round >= len(all) || all[round].Wall == 0 {
		return sample{}, false
	}
	return all[round], true
}

// spread is the middle and the ends of some values.
type spread struct{ median, least, most float64 }

// spreadOf returns the spread of at least one value.
func spreadOf(values []float64) spread {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return spread{(v[n/2] + v[(n-1)/2]) / 2, v[0], v[n-1]}
}

// raw is every sample, for those who want to compute for themselves.
func (r *results) raw() ([]byte, error) {
	type row struct {
		Mode    string   `json:"mode"`
		Peer    string   `json:"peer"`
		Out     string   `json:"left_out,omitzero"`
		Samples []sample `json:"samples,omitzero"`
	}
	rows := []row{}
	all := slices.Collect(maps.Keys(r.samples))
	for k := range r.out {
		if r.samples[k] == nil {
			all = append(all, k)
		}
	}
	slices.SortFunc(all, func(a, b key) int { return slices.Compare([]string{a.mode, a.peer}, []string{b.mode, b.peer}) })
	for _, k := range all {
		rows = append(rows, row{k.mode, k.peer, r.out[k], r.samples[k]})
	}
	return json.MarshalIndent(rows, "", " ")
}
