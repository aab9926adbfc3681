"""The names that other tools have for settings and options of Kerora, for the message about an unknown name."""

from collections.abc import Collection

ABSENT = {
    "sample_weight": "Repeat rows that count more, or use class_weights='balanced'.",
    "sample_weights": "Repeat rows that count more, or use class_weights='balanced'.",
    "verbose": "Show the progress with progress=True.",
    "optimizer": "It is AdamW. Its settings are learning_rate, schedule, warmup, weight_decay, clip_norm.",
    "metrics": "All metrics are in metrics.json and in the report.",
}
"""Arguments of Keras and scikit-learn that are no settings, with what to do instead."""
FOREIGN = {
    # the Trainer of transformers and its scripts
    "learning_rate": ("lr", "peak_learning_rate", "initial_learning_rate"),
    "epochs": ("num_train_epochs", "num_epochs", "n_epochs", "epoch", "max_epochs"),
    "batch_size": ("per_device_train_batch_size", "train_batch_size", "micro_batch_size", "per_gpu_train_batch_size"),
    "class_weights": ("class_weight",),
    "evaluation_batch_size": ("per_device_eval_batch_size", "eval_batch_size", "per_gpu_eval_batch_size"),
    "accumulate": ("gradient_accumulation_steps", "gradient_accumulation", "accumulation_steps", "grad_accum"),
    "schedule": ("lr_scheduler_type", "lr_scheduler", "scheduler", "lr_schedule"),
    "warmup": ("warmup_ratio", "warmup_proportion"),
    "warmup_steps": ("num_warmup_steps",),
    "clip_norm": ("max_grad_norm", "gradient_clipping", "grad_clip", "clipnorm", "global_clipnorm"),
    "label_smoothing": ("label_smoothing_factor",),
    "patience": ("early_stopping_patience",),
    "monitor": ("metric_for_best_model", "best_metric"),
    "logging_steps": ("log_steps", "log_every", "log_interval"),
    "log": ("report_to", "logger", "loggers", "log_with", "tracker", "track"),
    "config_name": ("dataset_config_name", "dataset_config", "subset_name"),
    "save_steps": ("checkpoint_steps", "save_every"),
    "seed": ("random_state", "random_seed", "data_seed"),
    "precision": ("fp16", "bf16", "dtype", "torch_dtype", "mixed_precision", "compute_dtype"),
    "max_length": (
        "max_seq_length",
        "max_seq_len",
        "max_len",
        "block_size",
        "cutoff_len",
        "sequence_length",
        "seq_len",
    ),
    "long": ("long_texts", "truncation_strategy"),
    "stride": ("doc_stride", "window_overlap", "overlap"),
    "pool": ("pooling", "aggregation"),
    "preset": ("model", "model_name_or_path", "model_name", "base_model", "pretrained_model", "pretrained", "model_id"),
    "resume": ("resume_from_checkpoint", "resume_from"),
    "force": ("overwrite_output_dir", "overwrite", "overwrite_cache"),
    "subset": ("max_train_samples", "max_samples", "limit"),
    # PEFT and bitsandbytes
    "rank": ("lora_r", "lora_rank", "r", "lora_dim"),
    "alpha": ("lora_alpha",),
    "dropout": ("lora_dropout",),
    "targets": ("target_modules", "lora_target_modules", "lora_target", "lora_targets"),
    "bias": ("lora_bias",),
    "layers": ("layers_to_transform", "lora_layers"),
    "init": ("init_lora_weights",),
    "use_rslora": ("rslora",),
    "use_dora": ("dora",),
    "loraplus_lr_ratio": ("loraplus_ratio", "lora_plus_lr_ratio"),
    "quantize": ("load_in_8bit", "load_in_4bit", "quantization_bit", "bits", "qlora"),
    "method": ("finetuning_type", "finetune_type", "train_type", "tuner_type"),
    "from_adapter": ("adapter", "adapter_name_or_path", "peft_model_id", "lora_path"),
    # files and columns
    "data": ("dataset", "dataset_name", "data_path", "data_file", "dataset_path", "csv"),
    "train": ("train_file", "train_data", "train_dataset", "train_path"),
    "validation": ("validation_file", "valid", "val", "dev", "eval_file", "eval_dataset", "valid_file", "val_file"),
    "test": ("test_file", "test_data", "test_dataset"),
    "validation_split": ("val_split", "validation_size", "val_size", "dev_split", "eval_split"),
    "test_split": ("test_size", "test_ratio"),
    "text": (
        "text_column",
        "text_column_name",
        "text_col",
        "text_columns",
        "text_field",
        "text_fields",
        "input_column",
    ),
    "label": ("label_column", "label_column_name", "label_col", "target_column", "label_field", "labels", "target"),
    "delimiter": ("sep", "separator"),
    "class_names": ("label_names", "classes", "id2label"),
    "prompt": ("prompt_column", "instruction_column"),
    "completion": ("completion_column", "response_column"),
    "turns": ("messages", "messages_column", "conversations"),
    "run": ("run_name", "output_dir", "out_dir", "save_dir", "experiment", "name"),
    "output": ("output_dir", "output_file", "out", "out_dir", "save_path"),
    # searches and text generation
    "trials": ("n_trials", "num_trials", "num_samples", "max_trials"),
    "study": ("study_name",),
    "metric": ("objective", "objective_metric"),
    "workers": ("n_jobs", "num_workers"),
    "max_tokens": ("max_new_tokens", "new_tokens", "num_tokens"),
    "space": ("search_space", "param_space"),
}
"""The last part of Kerora's name, with the names that others give to it."""


def own_name(name: str, known: Collection[str]) -> str | None:
    """Return Kerora's name for the name of another tool, or None.

    Args:
        name: the unknown name, such as ``lora_r`` or ``lora-r``.
        known: the names that are accepted here, with ``_`` between words. Only these are returned.
    """
    plain = name.lower().replace("-", "_")
    if plain in known and plain != name:
        return plain
    return next((own for own, others in FOREIGN.items() if plain in others and own in known), None)
