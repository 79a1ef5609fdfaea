package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report is the results as Markdown.
func (r *results) report() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s; %d rounds, %v a measurement, order by seed %d. %s.\n", r.began.UTC().Format("2006-01-02 15:04 UTC"), r.rounds, r.span, r.seed, machine())
	if versions := r.versions(); len(versions) > 0 {
		fmt.Fprintf(&b, "%s.\n", strings.Join(versions, "; "))
	}
	b.WriteString("\nMedians of all rounds, with the least and the most in brackets. CPU is user and system of all the peer's processes; " +
		"to HAProxy is the median of the ratios within each round, or the difference of added times.\n")
	for _, m := range r.modes {
		r.table(&b, m)
	}
	if reasons := r.reasons(); len(reasons) > 0 {
		fmt.Fprintf(&b, "\nLeft out:\n\n%s", strings.Join(reasons, ""))
	}
	return b.String()
}

func (r *results) table(b *strings.Builder, m mode) {
	if !slices.ContainsFunc(r.peers, func(p peer) bool { return len(r.values(m, p, m.main)) > 0 }) {
		return
	}
	fmt.Fprintf(b, "\n### %s\n\n%s.\n\n|", m.name, m.about)
	fmt.Fprintf(b, " | %s | spread | to HAProxy |", r.heading(m, m.main))
	for _, f := range m.more {
		fmt.Fprintf(b, " %s |", r.heading(m, f))
	}
	fmt.Fprintf(b, "\n|---|--:|:-:|--:|%s\n", strings.Repeat("--:|", len(m.more)))
	for _, p := range r.peers {
		if values := r.values(m, p, m.main); len(values) > 0 {
			r.row(b, m, p, spreadOf(values))
		}
	}
}

// heading is a figure's, which tells an added time from a time.
func (r *results) heading(m mode, f figure) string {
	if m.added && isTime(f) {
		return "added " + f.heading
	}
	return f.heading
}

func (r *results) row(b *strings.Builder, m mode, p peer, main spread) {
	title := p.title
	if p.name == direct {
		title = "*no peer: all of it*"
	}
	fmt.Fprintf(b, "| %s | %.*f | %.*f-%.*f | %s |", title, m.main.digits, main.median, m.main.digits, main.least, m.main.digits, main.most, r.ratio(m, p))
	for _, f := range m.more {
		if isCPU(f) && p.name == direct {
			b.WriteString(" |")
			continue
		}
		fmt.Fprintf(b, " %.*f |", f.digits, spreadOf(r.values(m, p, f)).median)
	}
	b.WriteString("\n")
}

func isCPU(f figure) bool { return strings.HasPrefix(f.heading, "CPU") }

// ratio compares a peer with the reference: of an added time, by how much more or less it adds.
func (r *results) ratio(m mode, p peer) string {
	if p.name == direct {
		return ""
	}
	if !m.added {
		ratios := r.ratios(m, p)
		if len(ratios) == 0 {
			return ""
		}
		s := spreadOf(ratios)
		return fmt.Sprintf("%.2f (%.2f-%.2f)", s.median, s.least, s.most)
	}
	i := slices.IndexFunc(r.peers, func(p peer) bool { return p.name == reference })
	if i < 0 {
		return ""
	}
	of := r.values(m, r.peers[i], m.main)
	if len(of) == 0 {
		return ""
	}
	return fmt.Sprintf("%+.0f µs", spreadOf(r.values(m, p, m.main)).median-spreadOf(of).median)
}

// reasons says, a line each, what was left out and why; what holds for all modes is said once.
func (r *results) reasons() (lines []string) {
	modes := map[string][]string{}
	for _, m := range r.modes {
		for _, p := range r.peers {
			if why, out := r.out[key{m.name, p.name}]; out {
				line := p.title + ": " + why
				modes[line] = append(modes[line], m.name)
			}
		}
	}
	for _, line := range slices.Sorted(maps.Keys(modes)) {
		lines = append(lines, fmt.Sprintf("- %s (%s)\n", line, strings.Join(modes[line], ", ")))
	}
	return lines
}

// machine describes what it ran on.
func machine() string {
	model := "unknown processor"
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%d processors (%s), shared by load, backend and peer; Linux %s; %s", runtime.NumCPU(), model, strings.TrimSpace(string(kernel)), runtime.Version())
}

// versions are the Debian packages of the peers.
func (r *results) versions() (all []string) {
	for _, p := range r.peers {
		if p.debian == "" {
			continue
		}
		version, err := exec.Command("dpkg-query", "-W", "-f", "${Version}", p.debian).Output()
		if err == nil && len(version) > 0 {
			all = append(all, fmt.Sprintf("%s %s", p.debian, version))
		}
	}
	return all
}

// took is how long the run took so far, for people.
func (r *results) took() time.Duration { return time.Since(r.began).Round(time.Second) }
