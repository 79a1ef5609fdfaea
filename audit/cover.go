package audit

import (
	"cmp"
	"database/sql/driver"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"postern/proxy"
)

// cover holds what is missing of the log against what retention says that it did. The records of that come later than
// those it took, so both are gathered and compared in the end.
type cover struct {
	found   *findings
	deleted ticks
	thinned ticks
	taken   [groups]ticks // those thinned, by the fields that they lost
	rules   [groups][]run // what was walked to take the fields of a group; groupCore is whole records
	told    [groups]int64 // of how many records retention says that it took them
}

// ticks is a set of record numbers, a bit each.
type ticks struct {
	words map[int64]*[stretchSize / 64]uint64 // by stretch
	count int64
}

func (m *ticks) add(s run) {
	for seq := s.first; seq <= s.last; seq++ {
		word := m.at(seq)
		*word |= 1 << (seq % 64)
		m.count++
	}
}

func (m *ticks) at(seq int64) *uint64 {
	if m.words == nil {
		m.words = map[int64]*[stretchSize / 64]uint64{}
	}
	part := m.words[seq/stretchSize]
	if part == nil {
		part = new([stretchSize / 64]uint64)
		m.words[seq/stretchSize] = part
	}
	return &part[seq%stretchSize/64]
}

// outside returns the numbers that are in none of the spans, which are sorted and do not touch.
func (m *ticks) outside(spans []run) (left []run) {
	for _, n := range sortedKeys(m.words) {
		for seq := n * stretchSize; seq < (n+1)*stretchSize; seq++ {
			if *m.at(seq)&(1<<(seq%64)) == 0 {
				continue
			}
			for len(spans) > 0 && spans[0].last < seq {
				spans = spans[1:]
			}
			if len(spans) == 0 || seq < spans[0].first {
				left = extend(left, seq)
			}
		}
	}
	return left
}

func sortedKeys[V any](m map[int64]V) []int64 {
	keys := make([]int64, 0, len(m))
	for n := range m {
		keys = append(keys, n)
	}
	slices.Sort(keys)
	return keys
}

func (c *cover) add(s *stretch) {
	for _, r := range s.deleted {
		c.deleted.add(r)
	}
	for _, r := range s.thinned {
		c.thinned.add(r)
	}
	for g := range s.taken {
		for _, r := range s.taken[g] {
			c.taken[g].add(r)
		}
	}
}

// rule takes up a retention record.
func (c *cover) rule(r *Record) {
	first, last, ok := strings.Cut(r.Text, "-")
	from, err := strconv.ParseInt(first, 10, 64)
	to, err2 := strconv.ParseInt(last, 10, 64)
	if !ok || err != nil || err2 != nil {
		return // a run that took nothing tells no span
	}
	g, known := takenBy(r)
	if !known {
		return
	}
	c.rules[g] = append(c.rules[g], run{from, min(to, r.Seq-1)}) // it does not speak of the future
	c.told[g] += r.Count
}

// takenBy returns what a retention record says that it took.
func takenBy(r *Record) (g group, known bool) {
	switch {
	case r.Detail == RecordsDeleted:
		return groupCore, true
	case r.Detail != RecordsThinned:
		return 0, false
	case r.Verb == ClassMessages:
		return groupMessage, true
	case r.Verb == ClassAddresses:
		return groupAddress, true
	case r.Verb == ClassUsers:
		return groupUser, true
	}
	return 0, false
}

// joined returns the spans sorted, those that touch made one.
func joined(spans []run) (all []run) {
	slices.SortFunc(spans, func(a, b run) int { return cmp.Compare(a.first, b.first) })
	for _, s := range spans {
		if n := len(all); n > 0 && s.first <= all[n-1].last+1 {
			all[n-1].last = max(all[n-1].last, s.last)
			continue
		}
		all = append(all, s)
	}
	return all
}

// checkCover compares both. Retention may have gone on since the walk began: its newest records count, too.
func (v *verifier) checkCover() error {
	var row [5]driver.Value
	const query = "SELECT seq, detail, text, count, verb FROM records WHERE seq > ? AND kind = 'retention'"
	err := v.lens.each(query, row[:], func() error {
		r := Record{Seq: row[0].(int64), Kind: proxy.KindRetention}
		r.Detail, _ = row[1].(string)
		r.Text, _ = row[2].(string)
		r.Count, _ = row[3].(int64)
		r.Verb, _ = row[4].(string)
		v.cover.rule(&r)
		return nil
	}, v.last)
	v.cover.check()
	return err
}

// check finds what is missing and was not told of. In a part of the log it knows of all that was taken there: the record of that
// comes later.
func (c *cover) check() {
	for _, s := range c.deleted.outside(joined(c.rules[groupCore])) {
		c.found.add(Finding{Table: "records", Key: seqKey(s.first, s.last), What: wasRemoved, at: s.first,
			Detail: "their hashes are kept as if retention had deleted them, and no record says so"})
	}
	for g := range c.taken {
		for _, s := range c.taken[g].outside(joined(c.rules[g])) {
			c.found.add(Finding{Table: "records", Key: seqKey(s.first, s.last), What: wasAltered, at: s.first,
				Detail: fmt.Sprintf("fields are taken out (%s) as if by retention, and no record says so", groupNames[g])})
		}
	}
	if len(c.found.all) == 0 {
		c.count()
	}
}

// count finds that more was taken than was told of: within the span of a run nobody can tell which it was.
func (c *cover) count() {
	if c.deleted.count > c.told[groupCore] {
		c.found.add(Finding{Table: "records", What: wasRemoved, at: 1,
			Detail: fmt.Sprintf("%d are missing, and retention says that it deleted %d", c.deleted.count, c.told[groupCore])})
	}
	for g := range c.taken {
		if c.taken[g].count > c.told[g] {
			c.found.add(Finding{Table: "records", What: wasAltered, at: 1, Detail: fmt.Sprintf(
				"of %d fields are taken out (%s), and retention says of %d that it did", c.taken[g].count, groupNames[g], c.told[g])})
		}
	}
}
