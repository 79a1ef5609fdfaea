package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// Age is how long something is kept; 0 is for ever.
type Age time.Duration

// set reads an age in days, such as 365d, or in units of time.ParseDuration. One of less than a day is a slip, and would
// empty the log. It says what is wrong with text.
func (a *Age) set(text string) string {
	*a = 0
	if text == "0" || text == "forever" {
		return ""
	}
	age, err := time.ParseDuration(text)
	if count, found := strings.CutSuffix(text, "d"); found {
		var days int64
		days, err = strconv.ParseInt(count, 10, 64)
		if days > math.MaxInt64/int64(day) {
			return fmt.Sprintf("%.80q is longer than 292 years: say forever", text)
		}
		age = time.Duration(days) * day
	}
	switch {
	case err != nil:
		return fmt.Sprintf("%.80q is not an age such as 90d", text)
	case age < day:
		return fmt.Sprintf("%.80q is less than a day, the least allowed", text)
	}
	*a = Age(age)
	return ""
}

// String writes an age as set reads it, in days where it is whole days.
func (a Age) String() string {
	if d := time.Duration(a); d%day != 0 {
		return short(d)
	}
	if a == 0 {
		return "forever"
	}
	return strconv.FormatInt(int64(time.Duration(a)/day), 10) + "d"
}

// Size is a number of octets; 0 is any.
type Size int64

// leastSize keeps a slip like "10" from emptying the log.
const leastSize = 10_000_000

// set reads a size such as 10GB or 10GiB. It says what is wrong with text.
func (s *Size) set(text string) string {
	*s = 0
	if text == "0" {
		return ""
	}
	number := strings.TrimRight(text, "BKMGTbikmgt")
	unit, known := units[strings.ToUpper(text[len(number):])]
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	switch {
	case err != nil || !known || n < 0:
		return fmt.Sprintf("%.80q is not a size such as 10GB", text)
	case n > math.MaxInt64/unit:
		return fmt.Sprintf("%.80q is more than any disk has", text)
	case n*unit < leastSize:
		return fmt.Sprintf("%.80q is less than 10MB, the least allowed", text)
	}
	*s = Size(n * unit)
	return ""
}

var units = map[string]int64{
	"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40,
}
