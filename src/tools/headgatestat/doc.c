/* SPDX-License-Identifier: BSD-2-Clause */
/* doc.c - headgatestat --doc: every statistic as text for headgate-stats(7). */
#include "base/base.h"
#include "tools/headgatestat/stat.h"

#include "shm/readings.h"
#include "shm/stats.h"
#include "shm/tally.h"

static void print_row(const struct stat_facts *facts)
{
	static const char *const types[] = { [STAT_COUNTER] = "counter", [STAT_GAUGE] = "gauge",
		[STAT_HISTOGRAM] = "histogram" };

	printf(".It Cm %s Pq %s\n", facts->name, types[facts->type]);
	for (const char *c = facts->help; *c; c++)
		fputs(*c == '\\' ? "\\e" : *c == '"' ? "\\(dq" : (char[]){ *c, 0 }, stdout);
	putchar('\n');
}

static void begin(const char *heading)
{
	printf(".Ss %s\n.Bl -tag -width Ds\n", heading);
}

static void print_rows(const struct stat_facts *facts, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		print_row(&facts[i]);
}

/* Those with labels of our own, or with those of the conventions. */
static void print_times(bool ours)
{
	for (unsigned i = 0; i < TALLY_TIME_COUNT; i++)
		if ((tally_time_labels[i] == &tally_labels[TALLY_MODEL]) == ours)
			print_row(&tally_time_facts[i]);
}

void stat_doc(void)
{
	begin("The house");
	print_rows(house_facts, HOUSE_COUNT);
	print_rows(stat_facts, STAT_ENDING_FIRST);
	puts(".El");
	begin("By reason Pq label Cm reason");
	print_row(&rejection_facts);
	puts(".El");
	begin("By ending Pq label Cm ending");
	print_row(&endings_facts);
	puts(".El");
	begin("By provider Pq label Cm provider");
	print_rows(provider_facts, PROVIDER_COUNT);
	print_rows(pstat_facts, PSTAT_COUNT);
	puts(".El");
	begin("By provider and model Pq labels Cm provider , model");
	print_rows(tally_facts[TALLY_MODEL], TALLY_COUNT);
	print_times(true);
	puts(".El");
	begin("By provider and model Pq labels Cm gen_ai_provider_name , gen_ai_request_model , gen_ai_operation_name");
	print_times(false);
	print_row(&tally_usage_facts);
	puts(".El");
	begin("By provider and API key Pq labels Cm provider , key");
	print_rows(tally_facts[TALLY_API_KEY], TALLY_COUNT);
	puts(".El");
	begin("By client Pq label Cm client");
	print_rows(client_facts, CLIENT_COUNT);
	print_rows(tally_facts[TALLY_CLIENT], TALLY_COUNT);
	puts(".El");
	begin("By worker slot Pq label Cm worker");
	print_rows(worker_facts, WORKER_COUNT);
	puts(".El");
}
