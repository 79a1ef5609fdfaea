package main

import (
	"strconv"

	"github.com/spf13/pflag"
)

// toggle is a flag that is on or off. It differs from pflag's own in the help alone, where it reads
// "--json" and not "--json[=true|false]".
type toggle bool

func (t *toggle) String() string { return strconv.FormatBool(bool(*t)) }

// Set takes what strconv.ParseBool does.
func (t *toggle) Set(text string) error {
	v, err := strconv.ParseBool(text)
	*t = toggle(v)
	return err
}

// Type is what pflag and cobra know flags without a value by.
func (t *toggle) Type() string { return "bool" }

// addToggle gives flags a toggle that sets *on, whose value now is the default.
func addToggle(flags *pflag.FlagSet, on *bool, name, shorthand, usage string) {
	flags.VarPF((*toggle)(on), name, shorthand, usage).NoOptDefVal = "true"
}
