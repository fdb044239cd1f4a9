"""Preference finetuning: DPO and its relatives, on pairs of answers or on answers judged one by one."""
