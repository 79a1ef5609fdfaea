package main

import (
	"strings"
	"time"

	"postern/proxy"
)

// settingRecords bounds the records of one setting: a list may be long.
const settingRecords = 16

// recordConfig puts on record what this run is set to, right behind its start.
func (d *daemon) recordConfig() {
	for _, setting := range d.config.InForce() {
		origin := cut(string(setting.Origin))
		for _, piece := range pieces(setting.Value) {
			d.audit.Record(proxy.Event{Kind: proxy.KindConfig, Time: time.Now(), Arg: setting.Name, Text: piece, Detail: origin})
		}
	}
}

// pieces divides a value that is too long for one record between its elements.
func pieces(value string) (all []string) {
	const more = ", ..."
	for len(value) > proxy.MaxText && len(all) < settingRecords-1 {
		end := strings.LastIndex(value[:proxy.MaxText], ", ")
		if end <= 0 {
			break
		}
		all = append(all, value[:end])
		value = value[end+2:]
	}
	if len(value) > proxy.MaxText {
		value = cut(value[:proxy.MaxText-len(more)]) + more
	}
	return append(all, value)
}
