package show

import (
	"fmt"
	"time"

	"postern/audit"
)

// Retention prints the rules in force and how they fare.
func (p *Printer) Retention(r audit.Retention, serving bool, path string) error {
	whose := "Rules of these settings; no postern serve runs:"
	if serving {
		whose = "Rules in force:"
	}
	lines := []string{p.paint(bold, whose)}
	for _, rule := range r.Rules.Words() {
		lines = append(lines, "  "+rule)
	}
	if r.Rules == (audit.Rules{}) {
		lines = append(lines, "  none: the log keeps everything")
	}
	lines = append(lines, "", fmt.Sprintf("Log        %s, %s", Escape(path), Octets(r.Octets)), "Oldest     "+moment(r.Oldest, "nothing that rules may delete"))
	if r.Holds > 0 {
		lines = append(lines, "Holds      "+plural(int64(r.Holds), "legal hold")+" in force: postern hold list")
	}
	if serving {
		lines = append(lines, "Last run   "+lastRun(r), "Next run   "+moment(r.NextRun, "none"))
	}
	for _, problem := range []string{r.Err, r.Blocked} {
		if problem != "" {
			lines = append(lines, p.paint(red, "Problem    "+Escape(problem)))
		}
	}
	for _, line := range lines {
		if err := p.write(line); err != nil {
			return err
		}
	}
	return nil
}

func lastRun(r audit.Retention) string {
	deleted, thinned := int64(0), int64(0)
	for _, t := range r.Taken {
		if t.Does == audit.RecordsDeleted {
			deleted += t.Records
		} else {
			thinned += t.Records
		}
	}
	switch {
	case r.Running:
		return "under way"
	case r.LastRun.IsZero():
		return "none since the start"
	case deleted+thinned == 0:
		return moment(r.LastRun, "") + ", took nothing"
	}
	return fmt.Sprintf("%s, deleted %s, thinned %s", moment(r.LastRun, ""), plural(deleted, "record"), plural(thinned, "record"))
}

func moment(t time.Time, none string) string {
	if t.IsZero() {
		return none
	}
	return t.UTC().Format(time.DateTime) + " UTC"
}

// takenHeads are the columns of Taken.
var takenHeads = []string{"RULE", "DOES", ">RECORDS", ">SESSIONS", ">OCTETS", "NUMBERS", "OLDEST (UTC)", "NEWEST (UTC)", ">HELD"}

// Taken prints what the rules took in a run, or would take.
func (p *Printer) Taken(taken []audit.Taken) error {
	rows := make([][]string, len(taken))
	for i, t := range taken {
		numbers, octets := "-", "-"
		if t.Records > 0 {
			numbers = fmt.Sprintf("%d-%d", t.First, t.Last)
		}
		if t.Octets > 0 {
			octets = Octets(t.Octets)
		}
		oldest, newest := "-", "-"
		if !t.Oldest.IsZero() {
			oldest, newest = t.Oldest.UTC().Format(time.DateTime), t.Newest.UTC().Format(time.DateTime)
		}
		rows[i] = bounded([]string{t.Rule, t.Does, fmt.Sprint(t.Records), fmt.Sprint(t.Sessions), octets, numbers, oldest, newest, fmt.Sprint(t.Held)})
	}
	return p.table(takenHeads, rows, func(int) string { return plain }, nil)
}

// Holds prints the legal holds in force.
func (p *Printer) Holds(holds []audit.Hold) error {
	rows := make([][]string, len(holds))
	for i, h := range holds {
		rows[i] = bounded([]string{fmt.Sprint(h.ID), h.Added.UTC().Format(time.DateTime), h.By})
	}
	note := func(i int) []string { return []string{holds[i].Scope.String(), holds[i].Reason} }
	return p.table([]string{">ID", "ADDED (UTC)", "BY"}, rows, func(int) string { return plain }, note)
}
