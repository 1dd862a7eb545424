#!/usr/bin/env bash
# C-JEPA, the fast predictor, DINO-WM and LeWorldModel at published sizes on Push-T, in some nine minutes on one GPU with
# 16 CPU cores: collect, tokenize, train side by side, card, success on pairs from episodes that nothing was trained on.
#
#     tools/one_gpu.sh FOLDER          # 12,000 episodes
#     tools/one_gpu.sh FOLDER toy      # the same commands on a few episodes, for some minutes on a CPU
#
# What is finished is in FOLDER/models (exported runs) and FOLDER/plans from the moment it is; times are in FOLDER/log.
set -u
out=$1 size=${2:-full}
if [ "$size" = toy ]; then
  shards=2 episodes=30 pixel_episodes=30 patch_episodes=30 held_out=8 pairs=6 val_clips=8
  batch=16 patch_batch=4 pixel_batch=4 steps_fast=4 steps_cjepa=4 steps_dino=2 steps_lewm=2 workers=0
else
  shards=6 episodes=2000 pixel_episodes=1500 patch_episodes=1500 held_out=150 pairs=150 val_clips=1024
  batch=512 patch_batch=64 pixel_batch=128 steps_fast=9000 steps_cjepa=7000 steps_dino=3000 steps_lewm=3000 workers=4
fi
eval "${CHANGES:-}"   # such as CHANGES="steps_fast=12000 pairs=50"
mkdir -p "$out/models" "$out/plans" "$out/output"
export OMP_NUM_THREADS=${THREADS:-2}
pusht=experiments/pusht

say() { echo "$(date +%T) $*" | tee -a "$out/log"; }
run() {  # NAME ARGUMENTS: a command of cjepa, with its output in a file
  local name=$1; shift
  if python3 -m cjepa.cli "$@" > "$out/output/$name.txt" 2>&1; then say "$name: done"; else say "$name: FAILED"; return 1; fi
}
collect() {  # NAME SEED EPISODES ENV_STEPS WORKERS MORE...
  run "collect-$1" collect -c $pusht/collect.yaml --out "$out/$1.h5" --seed "$2" --episodes "$3" --episode_env_steps "$4" --workers "$5" --masks false "${@:6}"
}
train() {  # NAME STEPS BATCH ARGUMENTS: fit, card, weights in half precision
  local name=$1 steps=$2 batch=$3; shift 3
  run "fit-$name" fit "$@" --run_dir "$out/runs/$name" --trainer.max_steps "$steps" --trainer.val_check_interval "$steps" \
    --data.init_args.batch_size "$batch" --data.init_args.val_clips $val_clips --trainer.enable_progress_bar false || return 1
  run "export-$name" export "$out/runs/$name" --out "$out/models/$name" --half true
}
judge() {  # NAME EPISODES PLAN...: card and success
  local name=$1 held=$2; shift 2
  run "test-$name" test "$out/runs/$name" &
  run "plan-$name" plan "$out/runs/$name" -c $pusht/plan.yaml "$@" --episodes "$held" --pairs $pairs --num_videos 0 --out "$out/plans/$name" &
  wait
}

say "start"
collect held-out 21 $held_out 125 1 &
collect held-out-224 21 $held_out 60 1 --env_kwargs.image_size 224 &
collect pixels 200 "$pixel_episodes" 60 4 --policy.init_args.noise 0.5 --env_kwargs.image_size 224 &
(collect patches 300 "$patch_episodes" 60 2 --policy.init_args.noise 0.5 \
  && run tokens-patches tokenize zoo:pusht-slots "$out/patches.h5" --patch_grid 8 --out "$out/patch-tokens.h5") &
for shard in $(seq $shards); do
  (collect "episodes-$shard" $((100 + shard)) $episodes 60 2 --policy.init_args.noise 0.5 \
    && run "tokens-$shard" tokenize zoo:pusht-slots "$out/episodes-$shard.h5" --out "$out/tokens/$shard.h5") &
done
wait
say "data: done"

fast="-c $pusht/cjepa.yaml -c $pusht/object_filter.yaml"
muon="--model.init_args.matrix_lr 1.0e-2 --model.init_args.lr 1.0e-3"
none="--model.init_args.mask.init_args.num_masked 0 --model.init_args.mask.init_args.random_count false"
member=--model.init_args.predictor.init_args
train fast "$steps_fast" $batch $fast -c $pusht/ensemble.yaml $member.predictor.init_args.dim 256 --data.init_args.path "$out/tokens" &
train fast-wide "$steps_fast" $batch $fast $member.dim 384 $member.rounds 3 --data.init_args.path "$out/tokens" &
train cjepa-1 "$steps_cjepa" $batch -c $pusht/cjepa.yaml -c $pusht/cjepa_paper.yaml $muon --data.init_args.path "$out/tokens" &
train cjepa-0 "$steps_cjepa" $batch -c $pusht/cjepa.yaml -c $pusht/cjepa_paper.yaml $muon $none --data.init_args.path "$out/tokens" &
train dino-wm "$steps_dino" $patch_batch -c $pusht/cjepa.yaml -c $pusht/dino_wm.yaml -c $pusht/dino_wm_paper.yaml \
  $member.token_dim 96 $member.num_tokens 64 --model.init_args.scale_tokens true --data.init_args.path "$out/patch-tokens.h5" &
train lewm "$steps_lewm" $pixel_batch -c $pusht/lewm.yaml -c $pusht/lewm_paper.yaml \
  --data.init_args.num_workers $workers --data.init_args.path "$out/pixels.h5" &
wait
say "training: done"

best="-c $pusht/plan_best.yaml"
quick="-c experiments/studies/plan_quick.yaml"
for name in fast fast-wide cjepa-1 cjepa-0; do judge $name "$out/held-out.h5" $best & done
judge dino-wm "$out/held-out.h5" $quick &
judge lewm "$out/held-out-224.h5" $quick &
wait
say "end"
