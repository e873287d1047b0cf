/* values: parsers of single values: numbers, durations, words, paths, replies. */
#ifndef RCPTGATE_CONFIG_VALUES_H
#define RCPTGATE_CONFIG_VALUES_H

#include "loader.h"

key_parser values_flag, values_choice, values_choice_flag, values_action, values_integer, values_bits,
    values_max, values_duration, values_percent, values_path, values_group, values_user, values_mode,
    values_prefix, values_subaddress, values_reply, values_limit_name, values_tristate;

#endif
