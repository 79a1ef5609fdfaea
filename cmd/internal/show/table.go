package show

import (
	"strings"
	"unicode/utf8"
)

// table prints rows of cells, escaped and bounded, under their heads; a head's leading > aligns its column to the
// right. color says how to paint a row, and note, which may be nil, what to say in lines of its own below it.
func (p *Printer) table(heads []string, rows [][]string, color func(row int) string, note func(row int) []string) error {
	titles, widths := make([]string, len(heads)), make([]int, len(heads))
	for i, head := range heads {
		titles[i] = strings.TrimPrefix(head, ">")
		widths[i] = len(titles[i])
		for _, row := range rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	if err := p.write(p.paint(faint, tableLine(heads, titles, widths))); err != nil {
		return err
	}
	for i, row := range rows {
		if err := p.write(p.paint(color(i), tableLine(heads, row, widths))); err != nil {
			return err
		}
		if note == nil {
			continue
		}
		for _, line := range note(i) {
			if err := p.write("  " + p.paint(color(i), Escape(line))); err != nil {
				return err
			}
		}
	}
	return nil
}

func tableLine(heads, cells []string, widths []int) string {
	var b strings.Builder
	for i, cell := range cells {
		if i > 0 {
			b.WriteString("  ")
		}
		pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
		if strings.HasPrefix(heads[i], ">") {
			b.WriteString(pad + cell)
		} else {
			b.WriteString(cell + pad)
		}
	}
	return b.String()
}

// bounded makes cells fit for a table: escaped, and none so wide that it pushes the others out of sight.
func bounded(cells []string) []string {
	const widest = 40
	for i, cell := range cells {
		cells[i] = strings.TrimRight(fit(cell, widest), " ")
	}
	return cells
}
